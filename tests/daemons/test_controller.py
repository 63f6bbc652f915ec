"""The controller end to end, on real RAFT clusters: what is applied is in NB, written by exactly one."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.controller_bench import databases, documents, network, port
from tests.waiting import eventually

from ovenbird.controller.events import LEADERSHIP_WON
from ovenbird.plan.election import CONTROL_NAME

pytestmark = pytest.mark.daemons


async def test_applied_objects_are_in_nb(tmp_path: Path) -> None:
    with databases(tmp_path) as dbs:
        async with dbs.candidate("c1") as service:
            await service.store.ready(10)
            outcome = await service.store.apply(documents(network("blue", "10.0.0.0/24"), port("vm1", "blue")))
            assert [(change.action, str(change.key)) for change in outcome.changes] == [
                ("create", "Network/blue"),
                ("create", "Port/vm1"),
            ]
            await eventually(lambda: service.nb.last_control.revision == outcome.revision, within_s=10)
            assert "blue" in dbs.nbctl("--bare", "--columns=name", "list", "Logical_Switch")
            assert "vm1" in dbs.nbctl("--bare", "--columns=name", "list", "Logical_Switch_Port")
            assert len(service.events.named(LEADERSHIP_WON)) == 1
            assert CONTROL_NAME in dbs.nbctl("--bare", "--columns=name", "list", "Address_Set")
            assert not service.problems
