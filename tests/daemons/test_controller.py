"""The controller on real RAFT clusters: what is declared is in NB, nothing else is touched, and problems stay apart."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.controller_bench import Databases, databases, documents, network, port
from tests.waiting import eventually

from ovenbird.controller import reconcile
from ovenbird.controller.events import DRIFT_REPAIRED, NB_COMMITTED, PROBLEM_CLEARED, TASK_FAILED
from ovenbird.controller.service import ControllerService
from ovenbird.controller.state import DeclaredState
from ovenbird.controller.store import BULK_OPERATIONS
from ovenbird.model.errors import Refused, UserError
from ovenbird.model.objects import Key
from ovenbird.ovsdb import Transaction
from ovenbird.plan.election import CONTROL_NAME

pytestmark = pytest.mark.daemons

BLUE = network("blue", "10.0.0.0/24")
ROUTED = """
kind: ExternalNetwork
name: public
spec: {physnet: ext, cidr: 172.16.0.0/24, gateway: 172.16.0.254}
---
kind: Router
name: r1
spec: {external: {network: public}}
"""


@pytest.fixture
def dbs(tmp_path: Path) -> Iterator[Databases]:
    with databases(tmp_path) as found:
        yield found


@pytest.fixture
async def service(dbs: Databases) -> AsyncIterator[ControllerService]:
    async with dbs.candidate("c1", audit_every_s=0.5) as found:
        await found.store.ready(10)
        yield found


async def in_nb(service: ControllerService) -> None:
    await eventually(lambda: service.leadership.committed_revision == service.store.revision > 0, within_s=15)
    await eventually(lambda: service.nb.last_control.revision == service.store.revision, within_s=5)


async def test_applied_objects_are_in_nb_and_deleted_ones_are_gone(dbs: Databases, service: ControllerService) -> None:
    outcome = await service.store.apply(documents(BLUE, port("vm1", "blue"), port("vm2", "blue")))
    assert [change.action for change in outcome.changes] == ["create"] * 3
    await in_nb(service)
    assert "blue" in (await dbs.column("Logical_Switch", "name"))[0]
    assert len(await dbs.column("Logical_Switch_Port", "name")) == 2
    assert await dbs.column("Address_Set", "name") == [CONTROL_NAME]
    await service.store.delete([Key("Port", "vm2"), Key("Port", "vm1"), Key("Network", "blue")])
    await in_nb(service)
    assert await dbs.column("Logical_Switch", "name") == []
    assert await dbs.column("Logical_Switch_Port", "name") == []
    assert await dbs.column("DHCP_Options", "cidr") == []
    assert not service.problems


async def test_a_great_change_is_planned_while_it_is_being_committed(
    dbs: Databases, service: ControllerService
) -> None:
    await service.store.apply(documents(network("wide", "10.60.0.0/16")))
    await in_nb(service)
    ports = [port(f"vm{number}", "wide") for number in range(BULK_OPERATIONS)]
    await service.store.apply(documents(*ports))
    await in_nb(service)
    assert service.events.named(NB_COMMITTED)[-1].fields["foreseen"]
    assert len(await dbs.column("Logical_Switch_Port", "name")) == BULK_OPERATIONS
    # Several audits later nothing was found to write.
    beat = service.nb.last_control.beat
    await eventually(lambda: service.nb.last_control.beat > beat, within_s=10)
    written = [one.fields["steps"] for one in service.events.named(NB_COMMITTED) if one.fields["steps"]]
    assert len(written) == 2, "what was written ahead is not written again"
    assert service.events.counts[DRIFT_REPAIRED] == 0


async def test_the_same_again_writes_nothing(dbs: Databases, service: ControllerService) -> None:
    text = documents(BLUE, port("vm1", "blue"), *ROUTED.split("---"))
    first = await service.store.apply(text)
    await in_nb(service)
    commits = service.events.counts[NB_COMMITTED]
    again = await service.store.apply(text)
    assert again.revision == first.revision
    assert {change.action for change in again.changes} == {"unchanged"}
    dry = await service.store.apply(documents(port("vm9", "blue")), dry_run=True)
    assert (dry.revision, dry.changes[0].action) == (first.revision, "create")
    # Several audits later nothing was found to write.
    beat = service.nb.last_control.beat
    await eventually(lambda: service.nb.last_control.beat > beat, within_s=10)
    assert service.events.counts[NB_COMMITTED] == commits
    assert service.events.counts[DRIFT_REPAIRED] == 0
    assert service.store.revision == first.revision


async def test_foreign_rows_are_not_touched(dbs: Databases, service: ControllerService) -> None:
    foreign = ["ls-add", "theirs", "--", "lsp-add", "theirs", "p1", "--", "lr-add", "lr", "--", "set", "Logical_Switch"]
    await dbs.nbctl(*foreign, "theirs", "external_ids:k=v", "--", "create", "DHCP_Options", "cidr=192.0.2.0/24")
    await service.store.apply(documents(BLUE, port("vm1", "blue")))
    await in_nb(service)
    ours = (await dbs.nbctl("--bare", "--columns=_uuid", "find", "Logical_Switch", "name!=theirs")).strip()
    await dbs.nbctl("lsp-add", ours, "guest")
    before = [await dbs.nbctl("list", table, name) for table, name in FOREIGN]
    await service.store.apply(documents(network("red", "10.1.0.0/24"), port("vm2", "red")))
    await service.store.delete([Key("Port", "vm1")])
    await in_nb(service)
    assert [await dbs.nbctl("list", table, name) for table, name in FOREIGN] == before
    assert "guest" in await dbs.nbctl("lsp-list", ours)
    assert await dbs.column("Logical_Switch_Port", "name") == ["guest", "p1", "vm2"]


FOREIGN = [("Logical_Switch", "theirs"), ("Logical_Switch_Port", "p1"), ("Logical_Router", "lr")]


async def test_drift_is_repaired_at_once_and_told(dbs: Databases, service: ControllerService) -> None:
    service.reconciler._audit_every_s = 1e9  # so that it is the change stream that sees it
    await service.store.apply(documents(BLUE, port("vm1", "blue"), port("vm2", "blue")))
    await in_nb(service)
    before = await dbs.nbctl("--columns=addresses", "list", "Logical_Switch_Port", "vm1")
    await dbs.nbctl("lsp-set-addresses", "vm1", "0a:00:00:00:00:99 10.0.0.99")
    await eventually(lambda: service.events.counts[DRIFT_REPAIRED] == 1, within_s=5)
    assert await dbs.nbctl("--columns=addresses", "list", "Logical_Switch_Port", "vm1") == before
    event = service.events.named(DRIFT_REPAIRED)[0]
    assert event.fields["objects"] == ["Port/vm1"]
    assert "addresses" in event.fields["steps"][0]
    await dbs.nbctl("lsp-del", "vm2")
    await eventually(lambda: service.events.counts[DRIFT_REPAIRED] == 2, within_s=5)
    assert await dbs.column("Logical_Switch_Port", "name") == ["vm1", "vm2"]
    assert service.reconciler.drift_repaired == 2


async def test_a_new_leader_finds_drift_that_nobody_saw(dbs: Databases) -> None:
    async with dbs.candidate("c1") as first:
        await first.store.ready(10)
        await first.store.apply(documents(BLUE, port("vm1", "blue"), port("vm2", "blue")))
        await in_nb(first)
    await dbs.nbctl("lsp-del", "vm1")
    async with dbs.candidate("c2") as second:
        await eventually(lambda: second.events.counts[DRIFT_REPAIRED], within_s=10)
        assert second.events.named(DRIFT_REPAIRED)[0].fields["objects"] == ["Port/vm1"]
        assert await dbs.column("Logical_Switch_Port", "name") == ["vm1", "vm2"]


async def test_a_taken_name_is_a_problem_of_that_object_alone(dbs: Databases, service: ControllerService) -> None:
    await dbs.nbctl("ls-add", "theirs", "--", "lsp-add", "theirs", "vm1")
    await service.store.apply(documents(BLUE, port("vm1", "blue"), port("vm2", "blue")))
    await in_nb(service)
    assert [trouble.code for trouble in service.problems[Key("Port", "vm1")]] == ["name_taken"]
    assert "vm1" in service.problems[Key("Port", "vm1")][0].detail
    assert list(service.problems) == [Key("Port", "vm1")]
    assert await dbs.column("Logical_Switch_Port", "name") == ["vm1", "vm2"]
    await dbs.nbctl("ls-del", "theirs")
    await eventually(lambda: not service.problems, within_s=10)
    assert service.events.counts[PROBLEM_CLEARED] == 1
    assert await dbs.column("Logical_Switch_Port", "name") == ["vm1", "vm2"]


async def test_an_object_that_nb_refuses_does_not_hold_up_the_others(
    dbs: Databases, service: ControllerService, monkeypatch: pytest.MonkeyPatch
) -> None:
    compile_object = reconcile.compile_object

    def spoil(key: Key, *rest: Any) -> Any:
        rows = compile_object(key, *rest)
        if key == Key("Port", "vm3"):
            return tuple(replace(row, columns={**row.columns, "tag": 99999}) for row in rows)
        return rows

    monkeypatch.setattr(reconcile, "compile_object", spoil)
    await service.store.apply(documents(BLUE, *(port(f"vm{n}", "blue") for n in range(8))))
    await in_nb(service)
    assert await dbs.column("Logical_Switch_Port", "name") == [f"vm{n}" for n in (0, 1, 2, 4, 5, 6, 7)]
    assert list(service.problems) == [Key("Port", "vm3")]
    assert service.problems[Key("Port", "vm3")][0].code == "refused"
    monkeypatch.undo()
    await eventually(lambda: not service.problems, within_s=15)
    assert len(await dbs.column("Logical_Switch_Port", "name")) == 8


async def test_a_router_is_placed_on_gateways_and_stays_where_it_is(dbs: Databases) -> None:
    async def order() -> str:
        return await dbs.nbctl("--bare", "--columns=chassis_name,priority", "list", "HA_Chassis")

    async with dbs.candidate("c1") as first:
        await first.store.ready(10)
        await first.store.apply(documents(*ROUTED.split("---")))
        await in_nb(first)
        assert await dbs.column("HA_Chassis", "chassis_name") == ["g1", "g2"]
    # A person turned the order round while nobody acted: traffic follows it, so it stays.
    g2 = (await dbs.nbctl("--bare", "--columns=_uuid", "find", "HA_Chassis", "chassis_name=g2")).strip()
    await dbs.nbctl("set", "HA_Chassis", g2, "priority=200")
    before = await order()
    async with dbs.candidate("c2") as second:
        await eventually(lambda: second.leadership.is_leader, within_s=10)
        await second.store.ready(10)
        await second.store.apply(documents(BLUE))
        await in_nb(second)
        assert await order() == before


async def test_bfd_timers_are_written_beside_other_options(dbs: Databases, service: ControllerService) -> None:
    # northd makes this row in a real cluster.
    await dbs.nbctl("init", "--", "set", "NB_Global", ".", "options:theirs=1", "options:bfd-mult=9")
    options = ("get", "NB_Global", ".", "options")
    wanted = '{bfd-min-rx="200", bfd-min-tx="200", bfd-mult="3", theirs="1"}'

    async def written() -> bool:
        return (await dbs.nbctl(*options)).strip() == wanted

    await eventually(written, within_s=10)


async def test_deleting_what_is_used_or_attached_is_refused(service: ControllerService) -> None:
    store = service.store
    await store.apply(documents(BLUE, port("vm1", "blue")))
    with pytest.raises(Refused, match="Network/blue"):
        await store.delete([Key("Network", "blue")])
    spec = {"type": "namespace", "address": "dhcp"}
    first = await store.attach("vm1", "h1", spec)
    assert await store.attach("vm1", "h1", spec) == first
    with pytest.raises(Refused, match="attached to h1") as refused:
        await store.attach("vm1", "g1", spec)
    assert refused.value.exit_status == 3
    with pytest.raises(Refused, match="on h1"):
        await store.delete([Key("Port", "vm1")])
    with pytest.raises(UserError, match="not declared"):
        await store.attach("nobody", "h1", spec)
    with pytest.raises(UserError, match="not a host"):
        await store.attach("vm1", "c1", spec)
    assert [each.port for each in store.attachments()] == ["vm1"]
    await store.detach("vm1")
    with pytest.raises(UserError, match="not attached"):
        await store.detach("vm1")
    await store.delete([Key("Port", "vm1")])
    assert store.inventory.get(Key("Port", "vm1")) is None


async def test_a_port_is_not_deleted_while_somebody_else_attaches_it(dbs: Databases) -> None:
    async with dbs.candidate("c1") as one, dbs.candidate("c2") as two:
        await one.store.ready(10)
        await two.store.ready(10)
        await one.store.apply(documents(BLUE, port("vm1", "blue")))
        await eventually(lambda: two.store.revision == 1, within_s=5)
        await two.store.attach("vm1", "h1", {})
        # `one` may not have heard of it yet: the database must say no.
        with pytest.raises(Refused, match="on h1"):
            await one.store.delete([Key("Port", "vm1")])


async def test_what_cannot_be_read_keeps_this_version_from_acting(dbs: Databases, service: ControllerService) -> None:
    await service.store.apply(documents(BLUE))
    await in_nb(service)
    txn = Transaction("a newer version")
    stranger = txn.insert("Object", {"kind": "Teleport", "name": "x", "spec": "{}", "revision": 2})
    await service.store.client.transact(txn)
    await eventually(lambda: not service.leadership.is_leader, within_s=5)
    switches = await dbs.column("Logical_Switch", "name")
    assert len(switches) == 1
    gone = Transaction("it is gone")
    gone.delete("Object", uuid=stranger)
    await service.store.client.transact(gone)
    await eventually(lambda: service.leadership.is_leader, within_s=10)
    assert await dbs.column("Logical_Switch", "name") == switches


async def test_a_part_that_fails_starts_again_from_scratch(
    dbs: Databases, service: ControllerService, monkeypatch: pytest.MonkeyPatch
) -> None:
    await service.store.apply(documents(BLUE, port("vm1", "blue")))
    await in_nb(service)
    feed, failures = DeclaredState.feed, iter([True])

    def failing(self: DeclaredState, changes: Any) -> Any:
        if next(failures, False):
            raise RuntimeError("planted")
        return feed(self, changes)

    monkeypatch.setattr(DeclaredState, "feed", failing)
    # Committed, but its change is lost on the way into the state.
    await service.store.apply(documents(port("vm2", "blue")), timeout_s=20)
    await in_nb(service)
    await eventually(lambda: service.store.inventory.get(Key("Port", "vm2")), within_s=10)
    assert await dbs.column("Logical_Switch_Port", "name") == ["vm1", "vm2"]
    assert "planted" in service.events.named(TASK_FAILED)[0].fields["error"]
