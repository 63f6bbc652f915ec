"""A cluster whose Ovenbird database an older version made: what it has no place for is left out, all else as ever."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.controller_bench import SCHEMAS, databases, documents
from tests.daemons.test_controller_gateways import (
    LEG,
    PUBLIC,
    ROUTER,
    begin_nb,
    history,
    order,
    ordered,
    say,
)
from tests.gateway_bench import Chassis
from tests.waiting import eventually

from ovenbird.controller import gateway_estimates
from ovenbird.controller import handover as controllers_handover
from ovenbird.controller.events import GATEWAY_CHANGE_UNTOLD, GATEWAY_HANDED_OVER, GATEWAY_NOT_HELD, TASK_FAILED
from ovenbird.controller.gateway_operations import GatewayOperations
from ovenbird.controller.service import ControllerService
from ovenbird.host import handover
from ovenbird.model.cluster import Database
from ovenbird.ovsdb import Client, Replica

pytestmark = pytest.mark.daemons


def schema_1_1() -> dict[str, Any]:
    """The schema before handovers, estimates and heartbeats."""
    schema: dict[str, Any] = json.loads(SCHEMAS[Database.OVENBIRD].read_text(encoding="utf-8"))
    del schema["tables"]["Handover"], schema["tables"]["GatewayChange"]["columns"]["estimate"]
    del schema["tables"]["Pulse"]
    return {**schema, "version": "1.1.0"}


def schema_1_3() -> dict[str, Any]:
    """The schema before old gateways were asked for silence."""
    schema: dict[str, Any] = json.loads(SCHEMAS[Database.OVENBIRD].read_text(encoding="utf-8"))
    columns = schema["tables"]["Handover"]["columns"]
    del columns["silence"], columns["silent"]
    assert set(columns) == {"gateway", "request", "held"}
    return {**schema, "version": "1.3.0"}


@pytest.fixture
def schema() -> dict[str, Any]:
    return schema_1_1()


@pytest.fixture
async def old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, schema: dict[str, Any]
) -> AsyncIterator[tuple[ControllerService, Chassis, tuple[str, ...]]]:
    """A controller and two good gateways on databases of which ours is an old one, and its remotes."""
    monkeypatch.setattr(gateway_estimates, "LOOK_S", 0.01)
    file = tmp_path / "old.ovsschema"
    file.write_text(json.dumps(schema), encoding="utf-8")
    schemas = {**SCHEMAS, Database.OVENBIRD: file}
    with databases(tmp_path, size=1, only=tuple(Database), schemas=schemas) as dbs:
        async with Chassis(dbs, LEG.format("r1")) as chassis, dbs.candidate("c1") as service:
            await chassis.register("g1", "g2")
            await chassis.report("g1", "g2")
            await service.store.ready(30)
            await service.store.apply(documents(PUBLIC, ROUTER.format(name="r1", gateways="{failback: manual}")))
            await eventually(lambda: order(service, "r1") == ["g1", "g2"], within_s=30)
            yield service, chassis, dbs.remotes[Database.OVENBIRD]


async def test_planned_moves_and_history_work_without_handovers_and_estimates(
    old: tuple[ControllerService, Chassis, tuple[str, ...]],
) -> None:
    service, chassis, _remotes = old
    await eventually(lambda: service.leadership.is_leader, within_s=30)
    await chassis.claim(LEG.format("r1"), "g1")
    await eventually(lambda: len(history(service)) == 1, within_s=30)
    await eventually(lambda: len(service.gateways.look()[0].good_since_s) == 2, within_s=30)
    operations = GatewayOperations(service)
    for gateway, order_then in (("g2", ("g2", "g1")), ("g1", ("g1", "g2"))):
        await operations.move("r1", gateway)
        await ordered(service, "r1", *order_then)
        mac = service.gateways.macs()["r1"]
        claim = {"taken_ms": int(1000 * time.time()), "state": "answered", "answered_ms": 9, "lost": {}}
        await chassis.report(gateway, outside={"claims": {mac: claim}, "released": {}})
        await chassis.claim(LEG.format("r1"), gateway)
        await eventually(lambda: history(service)[-1][2:] == (gateway, "move"), within_s=30)  # noqa: B023
    await operations.drain("g1")
    await ordered(service, "r1", "g2", "g1")
    told = [change.to_json() for change in service.store.state.gateway_changes.values()]
    assert all(one["outage_ms"] is None and one["outside"] == "" for one in told), "nowhere to keep them"
    assert service.events.counts[GATEWAY_NOT_HELD] == 3, "each planned move says that nobody was asked to wait"
    assert service.events.counts[GATEWAY_CHANGE_UNTOLD] == service.events.counts[TASK_FAILED] == 0


async def test_an_agent_finds_nobody_who_asks_it_to_wait(
    old: tuple[ControllerService, Chassis, tuple[str, ...]],
) -> None:
    _service, _chassis, remotes = old
    async with Client("Ovenbird", remotes) as client, Replica(client, handover.TABLES) as replica:
        await replica.ready(timeout_s=30)
        assert dict(replica.table("Handover")) == {}
        async with asyncio.timeout(30):
            async for _ in replica.changes():
                break  # told once, of nothing: its watch goes on


@pytest.mark.parametrize("schema", [schema_1_3()], ids=["1.3.0"])
async def test_a_planned_move_is_held_where_nobody_can_be_asked_for_silence(
    old: tuple[ControllerService, Chassis, tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HELD_S", "MOVED_S", "SILENT_S"):
        monkeypatch.setattr(controllers_handover, name, 30.0)
    service, chassis, remotes = old
    await begin_nb(service)
    await eventually(lambda: service.leadership.is_leader, within_s=30)
    await chassis.claim(LEG.format("r1"), "g1")
    await eventually(lambda: len(history(service)) == 1, within_s=30)
    await eventually(lambda: len(service.gateways.look()[0].good_since_s) == 2, within_s=30)
    asked = service.store.state.handovers
    async with Client("Ovenbird", remotes) as client, Replica(client, handover.TABLES) as replica:
        await replica.ready(timeout_s=30)
        await GatewayOperations(service).move("r1", "g2")
        await eventually(lambda: [name for name, _ in asked] == ["g1"], within_s=30)
        assert order(service, "r1") == ["g1", "g2"], "NB is changed only when it waits"
        # What its agent reads: the request, and that this database knows of no silence.
        await replica.wait_until(lambda nb: len(nb.table("Handover")) == 1, timeout_s=30)
        ((gateway, held),) = ((row["gateway"], row["held"]) for row in replica.table("Handover").values())
        assert (gateway, held, replica.has("Handover", "silent")) == ("g1", False, False)
        await say(service, "held", *asked)
        await ordered(service, "r1", "g2", "g1")
        await chassis.claim(LEG.format("r1"), "g2")
        await chassis.confirm("g2", 1000)
        await eventually(lambda: not asked, within_s=30)
    await eventually(lambda: history(service)[-1][2:] == ("g2", "move"), within_s=30)
    (told,) = await eventually(lambda: service.events.named(GATEWAY_HANDED_OVER), within_s=30)
    assert told.fields["not_waited_for"] == []
    assert service.events.counts[GATEWAY_NOT_HELD] == service.events.counts[TASK_FAILED] == 0
