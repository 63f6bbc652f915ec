"""Drain, move, rebalance and failback by the controller, on real databases whose chassis the test plays."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.controller_bench import Databases, databases, documents
from tests.gateway_bench import Chassis
from tests.waiting import eventually

from ovenbird.controller import handed, handover
from ovenbird.controller.gateway_operations import GatewayOperations
from ovenbird.controller.records import handover_uuid
from ovenbird.controller.service import ControllerService
from ovenbird.model.cluster import Database
from ovenbird.model.errors import Refused, UserError
from ovenbird.model.objects import Key
from ovenbird.ovsdb import Transaction
from ovenbird.plan.rebalance import Move

pytestmark = pytest.mark.daemons

PUBLIC = """
kind: ExternalNetwork
name: public
spec: {physnet: ext, cidr: 172.16.0.0/24, gateway: 172.16.0.254}
"""
ROUTER = """
kind: Router
name: {name}
spec: {{external: {{network: public}}, gateways: {gateways}}}
"""
LEG = "cr-{}_public"


@pytest.fixture
def dbs(tmp_path: Path) -> Iterator[Databases]:
    with databases(tmp_path, size=1, only=tuple(Database)) as found:
        yield found


@pytest.fixture
async def chassis(dbs: Databases) -> AsyncIterator[Chassis]:
    async with Chassis(dbs, LEG.format("r1"), LEG.format("r2")) as found:
        await found.register("g1", "g2")
        await found.report("g1", "g2")
        yield found


@pytest.fixture
async def service(dbs: Databases) -> AsyncIterator[ControllerService]:
    async with dbs.candidate("c1") as found:
        await found.store.ready(10)
        yield found


async def declare(service: ControllerService, **routers: str) -> None:
    """Routers of these names with `gateways` as given."""
    texts = (ROUTER.format(name=name, gateways=gateways) for name, gateways in routers.items())
    await service.store.apply(documents(PUBLIC, *texts))
    await eventually(lambda: service.nb.last_control.revision == service.store.revision > 0, within_s=15)


def order(service: ControllerService, router: str) -> list[str]:
    """The router's gateways in NB, most wanted first."""
    rows = [row for row in service.nb.index.rows_of(Key("Router", router)) if row.table == "HA_Chassis"]
    return [row.columns["chassis_name"] for row in sorted(rows, key=lambda row: -row.columns["priority"])]


async def ordered(service: ControllerService, router: str, *names: str) -> None:
    await eventually(lambda: order(service, router) == list(names), within_s=10)


def history(service: ControllerService) -> list[tuple[str, str, str, str]]:
    changes = sorted(service.store.state.gateway_changes.values(), key=lambda change: (change.at_ms, change.router))
    return [(change.router, change.before, change.after, change.cause) for change in changes]


async def test_after_a_failover_the_carrier_is_first_and_the_home_gets_it_back_when_good(
    service: ControllerService, chassis: Chassis
) -> None:
    await declare(service, r1="{failback_delay_s: 1}")
    await chassis.claim(LEG.format("r1"), "g1")
    await eventually(lambda: len(history(service)) == 1, within_s=5)
    await chassis.report("g1", controller="not connected")
    await eventually(lambda: "g1" not in service.gateways.look()[0].good_since_s, within_s=5)
    await chassis.claim(LEG.format("r1"), "g2")
    await ordered(service, "r1", "g2", "g1")
    assert service.reconciler.first_gateway("r1") == "g2"
    await chassis.report("g1")
    await ordered(service, "r1", "g1", "g2")
    await chassis.claim(LEG.format("r1"), "g1")
    await eventually(lambda: len(history(service)) == 3, within_s=5)
    assert history(service) == [
        ("r1", "", "g1", "placed"),
        ("r1", "g1", "g2", "failover"),
        ("r1", "g2", "g1", "failback"),
    ]


async def test_a_drained_gateway_is_last_and_stays_so_for_the_next_controller(
    dbs: Databases, service: ControllerService, chassis: Chassis
) -> None:
    await declare(service, r1="{failback: manual}", r2="{failback: manual}")
    assert [order(service, name)[0] for name in ("r1", "r2")] == ["g1", "g2"]
    for router, gateway in (("r1", "g1"), ("r2", "g2")):
        await chassis.claim(LEG.format(router), gateway)
    operations = GatewayOperations(service)
    await eventually(lambda: len(service.gateways.look()[0].good_since_s) == 2, within_s=5)
    expected = (Move("r1", "g1", "g2"),)
    assert (await operations.drain("g1", dry_run=True)).moves == expected
    assert service.store.state.drained == set()
    assert (await operations.drain("g1")).moves == expected
    await ordered(service, "r1", "g2", "g1")
    await chassis.claim(LEG.format("r1"), "g2")
    await eventually(lambda: history(service)[-1:] == [("r1", "g1", "g2", "drain")], within_s=5)
    with pytest.raises(Refused) as refused:
        await operations.drain("g2")
    assert refused.value.code == "last_gateway"
    with pytest.raises(Refused):
        await operations.move("r2", "g1")
    async with dbs.candidate("c2") as other:
        await other.store.ready(10)
        assert other.store.state.drained == {"g1"}
    await operations.undrain("g1")
    assert order(service, "r1") == ["g2", "g1"]
    assert (await operations.rebalance()).moves == (Move("r1", "g2", "g1"),)
    await ordered(service, "r1", "g1", "g2")
    await chassis.claim(LEG.format("r1"), "g1")
    await eventually(lambda: history(service)[-1:] == [("r1", "g2", "g1", "rebalance")], within_s=5)
    assert (await operations.rebalance()).moves == ()


async def test_a_move_makes_a_home_and_the_history_says_so(service: ControllerService, chassis: Chassis) -> None:
    await declare(service, r1="{failback_delay_s: 1}")
    await chassis.claim(LEG.format("r1"), "g1")
    operations = GatewayOperations(service)
    await eventually(lambda: len(service.gateways.look()[0].good_since_s) == 2, within_s=5)
    assert (await operations.move("r1", "g2")).moves == (Move("r1", "g1", "g2"),)
    await ordered(service, "r1", "g2", "g1")
    await chassis.claim(LEG.format("r1"), "g2")
    await eventually(lambda: history(service)[-1:] == [("r1", "g1", "g2", "move")], within_s=5)
    assert (await operations.view()).routers[0].home == "g2"
    assert (await operations.move("r1", "g2")).moves == ()
    with pytest.raises(UserError):
        await operations.move("nobody", "g2")
    await service.store.delete([Key("Router", "r1")])
    await eventually(lambda: service.store.state.homes == {}, within_s=5)


async def test_a_move_to_one_that_is_not_good_just_now_is_made_when_it_is(
    service: ControllerService, chassis: Chassis
) -> None:
    await declare(service, r1="{failback: manual}")
    await chassis.claim(LEG.format("r1"), "g1")
    for wrong in ({"held": True}, {"controller": "not connected"}):
        await chassis.report("g2", **wrong)
        await eventually(lambda: set(service.gateways.look()[0].good_since_s) == {"g1"}, within_s=5)
    operations = GatewayOperations(service)
    assert (await operations.move("r1", "g2", force=True)).moves == (Move("r1", "g1", "g2"),)

    async def is_home() -> bool:
        return (await operations.view()).routers[0].home == "g2"

    await eventually(is_home, within_s=5)
    assert order(service, "r1") == ["g1", "g2"]
    await chassis.report("g2")
    await ordered(service, "r1", "g2", "g1")


async def test_a_claim_that_did_not_last_is_no_change(service: ControllerService, chassis: Chassis) -> None:
    await declare(service, r1="{failback: manual}", r2="{failback: manual}")
    await chassis.claim(LEG.format("r1"), "g1")
    await eventually(lambda: len(history(service)) == 1, within_s=5)
    await eventually(lambda: "g1" in service.gateways.look()[0].good_since_s, within_s=5)
    for gateway in ("g2", "g1"):
        await chassis.claim(LEG.format("r1"), gateway)
    await chassis.claim(LEG.format("r2"), "g2")
    await eventually(lambda: ("r2", "", "g2", "placed") in history(service), within_s=10)
    assert [change for change in history(service) if change[0] == "r1"] == [("r1", "", "g1", "placed")]


async def test_what_is_not_known_moves_nothing(service: ControllerService, chassis: Chassis) -> None:
    await declare(service, r1="{failback_delay_s: 1}")
    await chassis.claim(LEG.format("r1"), "g1")
    await chassis.report("g2", controller="unknown")
    operations = GatewayOperations(service)
    await eventually(lambda: set(service.gateways.look()[0].good_since_s) == {"g1"}, within_s=5)
    with pytest.raises(Refused) as refused:
        await operations.drain("g1")
    assert refused.value.code == "last_gateway"
    assert (await operations.drain("g1", force=True)).moves == ()
    await eventually(lambda: service.store.state.drained == {"g1"}, within_s=5)
    assert order(service, "r1") == ["g1", "g2"]
    await chassis.report("g2")
    await ordered(service, "r1", "g2", "g1")


async def begin_nb(service: ControllerService) -> None:
    txn = Transaction("as northd")
    txn.insert("NB_Global", {"nb_cfg": 7})
    await service.nb.client.transact(txn, timeout_s=10)


async def say(service: ControllerService, what: str, *requests: tuple[str, int]) -> None:
    txn = Transaction("as their agents do")
    for request in requests:
        txn.update("Handover", {what: True}, uuid=handover_uuid(*request))
    await service.store.client.transact(txn, timeout_s=10)


@pytest.mark.parametrize("turns", [True, False])
async def test_who_loses_a_router_and_who_sends_to_it_wait_until_each_may_go_on(
    service: ControllerService, chassis: Chassis, monkeypatch: pytest.MonkeyPatch, turns: bool
) -> None:
    monkeypatch.setattr(handover, "HELD_S", 30.0)
    monkeypatch.setattr(handover, "MOVED_S", 30.0)
    monkeypatch.setattr(handover, "TURNED_S", 30.0 if turns else 0.2)
    monkeypatch.setattr(handover, "SILENT_S", 30.0)
    await begin_nb(service)
    await chassis.register("h1")
    await chassis.report("h1")
    await chassis.refer("r1", "h1", "g2")
    await declare(service, r1="{failback: manual}")
    await chassis.claim(LEG.format("r1"), "g1")
    await eventually(lambda: len(service.gateways.look()[0].good_since_s) == 2, within_s=15)
    await eventually(lambda: service.gateways.senders(["r1"]) == {"h1", "g2"}, within_s=15)
    await GatewayOperations(service).move("r1", "g2")
    asked = service.store.state.handovers
    await eventually(lambda: sorted(name for name, _ in asked) == ["g1", "h1"], within_s=15)
    assert order(service, "r1") == ["g1", "g2"], "NB is changed only when both wait"
    gateway, host = sorted(asked)
    await say(service, "held", gateway, host)
    await ordered(service, "r1", "g2", "g1")
    await chassis.claim(LEG.format("r1"), "g2")
    await eventually(lambda: service.sb.carriers() == {LEG.format("r1"): "g2", LEG.format("r2"): None}, within_s=15)
    look = Transaction("as northd")
    look.select("NB_Global", columns=("nb_cfg",))

    async def number() -> int:
        return int((await service.nb.client.transact(look, timeout_s=10)).rows(0)[0]["nb_cfg"])

    async def is_raised() -> bool:
        return await number() > 7

    await eventually(is_raised, within_s=15)
    assert set(asked) == {gateway, host}, "it has claimed it, and does not say yet that it forwards"
    await chassis.confirm("g2", await number())
    await eventually(lambda: set(asked) <= {gateway}, within_s=15)
    if turns:
        assert set(asked) == {gateway}, "the host does not say yet that it sends there"
        await chassis.confirm("h1", await number())
    look_closer = Transaction("as its agent")
    look_closer.select("Handover", columns=("gateway", "silence"))

    async def is_asked_for_silence() -> bool:
        rows = (await service.store.client.transact(look_closer, timeout_s=10)).rows(0)
        return [(row["gateway"], row["silence"]) for row in rows] == [("g1", {service.gateways.macs()["r1"]})]

    await eventually(is_asked_for_silence, within_s=15)
    assert set(asked) == {gateway}, "it does not say yet that it is silent"
    await say(service, "silent", gateway)
    await eventually(lambda: not asked, within_s=15)


async def test_many_planned_moves_are_made_a_few_at_a_time(
    dbs: Databases, service: ControllerService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handed, "AT_ONCE", 8)
    monkeypatch.setattr(handover, "HELD_S", 0.1)
    monkeypatch.setattr(handover, "MOVED_S", 60.0)
    names = [f"r{number:02}" for number in range(20)]
    async with Chassis(dbs, *map(LEG.format, names)) as chassis:
        await chassis.register("g1", "g2")
        await chassis.report("g1", "g2")
        await begin_nb(service)
        await chassis.confirm("g2", 1000)
        await declare(service, **dict.fromkeys(names, "{failback: manual}"))
        at = {name: order(service, name)[0] for name in names}
        for name in names:
            await chassis.claim(LEG.format(name), at[name])
        await eventually(lambda: len(service.gateways.look()[0].good_since_s) == 2, within_s=15)
        await eventually(lambda: len(history(service)) == len(names), within_s=15)
        await GatewayOperations(service).drain("g1")
        moving = {name for name in names if at[name] == "g1"}
        groups: list[int] = []
        while moving:
            moved = await eventually(lambda: {name for name in moving if order(service, name)[0] == "g2"}, within_s=15)  # noqa: B023
            for name in moved:
                await chassis.claim(LEG.format(name), "g2")
            groups.append(len(moved))
            moving -= moved
        assert groups == [8, 2]


async def test_the_history_is_completed_with_what_agents_tell_of_a_change(
    service: ControllerService, chassis: Chassis
) -> None:
    await declare(service, r1="{failback: manual}")
    mac = service.gateways.macs()["r1"]
    await chassis.claim(LEG.format("r1"), "g1")
    await eventually(lambda: len(history(service)) == 1, within_s=10)
    await chassis.claim(LEG.format("r1"), "g2")
    claim = {"taken_ms": int(1000 * time.time()), "state": "answered", "answered_ms": 9, "lost": {"g1": 12}}
    await chassis.report("g2", outside={"claims": {mac: claim}, "released": {}})

    def latest() -> dict[str, object]:
        changes = sorted(service.store.state.gateway_changes.values(), key=lambda change: change.at_ms)
        return changes[-1].to_json()

    await eventually(lambda: latest()["outside"] == "answered", within_s=15)
    detect_ms = service.gateways.detect_ms
    told = latest()
    assert (told["cause"], told["detected_ms"], told["outage_ms"]) == ("failover", detect_ms, detect_ms + 12 + 9)
    # An agent that has been started again knows nothing of it; the history does.
    await chassis.report("g2", outside={"claims": {}, "released": {}})
    await chassis.claim(LEG.format("r1"), "g1")
    await chassis.report("g1", outside={"claims": {mac: {"taken_ms": claim["taken_ms"], "state": "waiting"}}})
    await eventually(lambda: latest()["outside"] == "waiting", within_s=15)
    assert told in [change.to_json() for change in service.store.state.gateway_changes.values()]
