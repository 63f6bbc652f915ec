"""Gateway routers and shared lists by the controller, on real databases whose chassis the test plays."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.controller_bench import Databases, databases
from tests.daemons.test_controller_gateways import declare, history, order, ordered
from tests.gateway_bench import Chassis
from tests.waiting import eventually

from ovenbird.controller.events import GATEWAY_CHANGED
from ovenbird.controller.gateway_operations import GatewayOperations
from ovenbird.controller.service import ControllerService
from ovenbird.model.cluster import Database
from ovenbird.ovsdb import Client, Transaction
from ovenbird.plan.compile_names import gateway_router
from ovenbird.plan.rows import row_uuid

pytestmark = pytest.mark.daemons

PINNED = "{mode: gateway-router, failback_delay_s: 1}"
LEG = "r1_gw_public"


@pytest.fixture
def dbs(tmp_path: Path) -> Iterator[Databases]:
    with databases(tmp_path, size=1, only=tuple(Database)) as found:
        yield found


@pytest.fixture
async def chassis(dbs: Databases) -> AsyncIterator[Chassis]:
    async with Chassis(dbs, LEG, "cr-s1_public", "cr-s2_public") as found:
        await found.register("g1", "g2")
        await found.report("g1", bfd=sees(g2="up", h1="up", h2="up"))
        await found.report("g2", bfd=sees(g1="up", h1="up", h2="up"))
        await found.report("h1", "h2", bfd=sees(g1="up", g2="up"))
        yield found


@pytest.fixture
async def service(dbs: Databases) -> AsyncIterator[ControllerService]:
    async with dbs.candidate("c1") as found:
        await found.store.ready(10)
        yield found


def sees(**peers: str) -> list[dict[str, str]]:
    return [{"chassis": peer, "state": state} for peer, state in peers.items()]


def pinned_to(service: ControllerService) -> str:
    row = service.nb.index.row("Logical_Router", gateway_router("r1"))
    options: dict[str, Any] = dict(row.columns["options"]) if row else {}
    return str(options.get("chassis", ""))


async def carried_by_g1(service: ControllerService, chassis: Chassis) -> None:
    await declare(service, r1=PINNED)
    assert pinned_to(service) == "g1"
    await chassis.claim(LEG, "g1")
    await eventually(lambda: len(service.gateways.look()[0].good_since_s) == 2, within_s=5)


async def lost(chassis: Chassis, *watchers: str) -> None:
    """Let these see g1 down, and everything else up."""
    for name in watchers:
        await chassis.report(name, bfd=sees(g1="down", **{each: "up" for each in ("g2", "h1", "h2") if each != name}))


async def test_a_gateway_router_leaves_a_gateway_that_a_majority_sees_dead_and_goes_home(
    service: ControllerService, chassis: Chassis
) -> None:
    await carried_by_g1(service, chassis)
    await lost(chassis, "g2")
    await chassis.report("g1", controller="not connected", bfd=sees(g2="up", h1="up", h2="up"))
    await eventually(lambda: "g1" not in service.gateways.look()[0].good_since_s, within_s=5)
    assert pinned_to(service) == "g1", "one of three says so"
    await lost(chassis, "h1")
    await eventually(lambda: pinned_to(service) == "g2", within_s=5)
    assert order(service, "r1") == ["g2", "g1"]
    await chassis.claim(LEG, "g2")
    await eventually(lambda: history(service)[-1:] == [("r1", "g1", "g2", "failover")], within_s=5)

    def deciders() -> set[object]:
        told = service.events.named(GATEWAY_CHANGED)
        return {event.fields["decided_by"] for event in told if event.fields["cause"] == "failover"}

    # OVN moves no gateway router.
    await eventually(lambda: deciders() == {"controller"}, within_s=5)
    for name, peer in (("g1", "g2"), ("g2", "g1")):
        await chassis.report(name, bfd=sees(**{peer: "up"}, h1="up", h2="up"))
    await chassis.report("h1", bfd=sees(g1="up", g2="up"))
    await ordered(service, "r1", "g1", "g2")
    await eventually(lambda: pinned_to(service) == "g1", within_s=5)


async def test_nobody_moves_while_sb_does_not_say_who_is_good(
    dbs: Databases, service: ControllerService, chassis: Chassis
) -> None:
    await carried_by_g1(service, chassis)
    async with Client("OVN_Southbound", dbs.remotes[Database.SB]) as sb:
        await sb.wait_connected(timeout_s=5)
        txn = Transaction("g2 is away")
        txn.delete("Chassis_Private", where=[("name", "==", "g2")])
        txn.delete("Chassis", uuid=row_uuid("Chassis", "g2"))
        await sb.transact(txn, timeout_s=5)
    await eventually(lambda: set(service.gateways.look()[0].good_since_s) == {"g1"}, within_s=5)
    await lost(chassis, "g2", "h1", "h2")
    await eventually(lambda: service.gateways.look()[0].dead == {"g1"}, within_s=5)
    await declare(service, other="{}")  # the controller has looked at everything once more
    assert (pinned_to(service), order(service, "r1")) == ("g1", ["g1", "g2"])


async def test_shared_routers_follow_one_order(service: ControllerService, chassis: Chassis) -> None:
    await declare(service, s1="{mode: shared, failback_delay_s: 1}", s2="{mode: shared, failback_delay_s: 1}")
    assert order(service, "s1") == order(service, "s2") == ["g1", "g2"]
    for name in ("s1", "s2"):
        await chassis.claim(f"cr-{name}_public", "g1")
    await eventually(lambda: len(service.gateways.look()[0].good_since_s) == 2, within_s=5)
    operations = GatewayOperations(service)
    moves = (await operations.move("s2", "g2")).moves
    assert [(move.router, move.before, move.after) for move in moves] == [("s1", "g1", "g2"), ("s2", "g1", "g2")]
    for name in ("s1", "s2"):
        await ordered(service, name, "g2", "g1")
        await chassis.claim(f"cr-{name}_public", "g2")
    await eventually(lambda: len(history(service)) == 4, within_s=5)
    assert (await operations.rebalance()).moves == ()
