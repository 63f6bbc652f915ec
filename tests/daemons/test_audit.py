"""A dry audit: what the acting controller would still change in NB, told and not done."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.controller_bench import Databases, databases, documents, network, port
from tests.waiting import eventually

from ovenbird.api.audit import audited
from ovenbird.model.errors import Unavailable

pytestmark = pytest.mark.daemons


@pytest.fixture
def dbs(tmp_path: Path) -> Iterator[Databases]:
    with databases(tmp_path, size=1) as found:
        yield found


async def test_an_audit_tells_and_does_nothing(dbs: Databases) -> None:
    async with dbs.candidate("c1") as service:
        await service.store.ready(10)
        await service.store.apply(documents(network("blue", "10.0.0.0/24"), port("vm1", "blue"), port("vm2", "blue")))
        await eventually(lambda: service.nb.last_control.revision == 1, within_s=10)
        clean = await audited(service)
        assert (clean["steps"], clean["conflicts"], clean["revision"], clean["holder"]) == (0, 0, 1, "c1")
        # Without its loop nobody repairs what is done to NB now.
        loop = next(task for task in service._tasks if task.get_name() == "reconcile")
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)
        await dbs.nbctl("lsp-del", "vm1")
        found = await eventually(lambda: audit_with_steps(service), within_s=5)
        assert any("Logical_Switch_Port" in text for text in found["shown"])
        assert await dbs.column("Logical_Switch_Port", "name") == ["vm2"]


async def audit_with_steps(service) -> dict | None:
    answer = await audited(service)
    return answer if answer["steps"] else None


async def test_only_the_acting_controller_can_tell(dbs: Databases) -> None:
    async with dbs.candidate("c1") as one, dbs.candidate("c2") as two:
        await eventually(lambda: one.reconciler._epoch or two.reconciler._epoch, within_s=15)
        standby = two if one.leadership.is_leader else one
        with pytest.raises(Unavailable) as caught:
            await audited(standby)
        assert caught.value.code == "not_acting"
