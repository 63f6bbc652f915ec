"""Gateways that must not be in one group, by the controller, on real databases whose chassis the test plays."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.controller_bench import Databases, databases
from tests.daemons.test_controller_gateways import LEG, declare, history
from tests.gateway_bench import Chassis
from tests.waiting import eventually

from ovenbird.controller.service import ControllerService
from ovenbird.model.cluster import Database
from ovenbird.model.objects import Key
from ovenbird.plan.rows import VACANT

pytestmark = pytest.mark.daemons

ROUTER, NETWORK = Key("Router", "r1"), Key("ExternalNetwork", "public")


@pytest.fixture
def dbs(tmp_path: Path) -> Iterator[Databases]:
    with databases(tmp_path, size=1, only=tuple(Database)) as found:
        yield found


@pytest.fixture
async def chassis(dbs: Databases) -> AsyncIterator[Chassis]:
    async with Chassis(dbs, LEG.format("r1")) as found:
        await found.register("g1", "g2", "h1")
        yield found


async def sees(chassis: Chassis, name: str, **states: bool) -> None:
    """Let a host's agent tell its BFD sessions."""
    await chassis.report(name, bfd=[{"chassis": peer, "state": "up" if up else "down"} for peer, up in states.items()])


def members(service: ControllerService, key: Key) -> list[str]:
    """The gateways of an object's group in NB, most wanted first."""
    rows = [row for row in service.nb.index.rows_of(key) if row.table == "HA_Chassis"]
    return [row.columns["chassis_name"] for row in sorted(rows, key=lambda row: -row.columns["priority"])]


async def test_a_parted_pair_is_parted_for_the_next_controller_too(dbs: Databases, chassis: Chassis) -> None:
    async with dbs.candidate("c1") as service:
        await service.store.ready(10)
        await sees(chassis, "h1", g1=True, g2=True)
        await sees(chassis, "g1", h1=True, g2=True)
        await sees(chassis, "g2", h1=True, g1=True)
        await declare(service, r1="{}")
        await chassis.claim(LEG.format("r1"), "g1")
        assert members(service, ROUTER) == ["g1", "g2"]
        assert members(service, NETWORK) == []
        await sees(chassis, "g1", h1=True, g2=False)
        await sees(chassis, "g2", h1=True, g1=False)
        # They claim it in turn: it is no failover.
        await chassis.claim(LEG.format("r1"), "g2")
        await chassis.claim(LEG.format("r1"), "g1")
        await eventually(lambda: members(service, ROUTER) == ["g1", VACANT], within_s=10)
        assert members(service, NETWORK) == ["g1", "g2"], "BFD goes on among them"
        # Now the other one's session with the compute host is gone, too: it is in no group with it.
        await sees(chassis, "g2", g1=False)
    async with dbs.candidate("c2") as service:
        await service.store.ready(10)
        await eventually(lambda: service.leadership.is_leader and service.reconciler.first_gateway("r1"), within_s=20)
        assert not (await service.reconciler.audit()).steps, "the next controller would have it as it is"
        assert members(service, ROUTER) == ["g1", VACANT]
        # The one that was kept dies: whoever saw it says so.
        await sees(chassis, "h1", g1=False)
        await eventually(lambda: members(service, ROUTER) == ["g1", "g2"], within_s=5)
        assert members(service, NETWORK) == []
        causes = {change[3] for change in history(service)}
        assert "failover" not in causes
