"""What a drill's observers see of real RAFT databases, and that they catch a controller which does not fence."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.controller_bench import Databases, databases, documents, network, said, scribbler
from tests.core.test_invariants import run
from tests.waiting import eventually

from ovenbird.drill.database_watch import DatabaseWatch
from ovenbird.drill.invariants import check
from ovenbird.drill.member_watch import MemberPlace
from ovenbird.drill.record import EPOCH_CHANGED, ROLE_CHANGED, Event
from ovenbird.model.cluster import Database

pytestmark = pytest.mark.daemons


@pytest.fixture
def dbs(tmp_path: Path) -> Iterator[Databases]:
    with databases(tmp_path) as found:
        yield found


@contextlib.asynccontextmanager
async def watched(dbs: Databases) -> AsyncIterator[list[Event]]:
    """The events of all members of these databases, as they come."""
    places = [
        MemberPlace(
            database=database,
            node=f"c{number}",
            remote=lambda member=member: member.remote,
            control=lambda member=member: str(member.control),
        )
        for database, raft in dbs.rafts.items()
        for number, member in enumerate(raft.members, 1)
    ]
    events: list[Event] = []
    tasks = [asyncio.create_task(watch()) for watch in DatabaseWatch(places, events.append).watches.values()]
    try:
        yield events
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def violations(events: list[Event], name: str) -> list[str]:
    return [violation.what for violation in check(replace(run(), timeline=events), [name])]


@pytest.mark.parametrize("fenced", ["fenced", "unfenced"])
async def test_a_controller_that_does_not_fence_is_caught(dbs: Databases, fenced: str) -> None:
    """The planted bug: a leader that slept through its succession and writes on, with and without the fence."""
    async with watched(dbs) as events, scribbler(dbs, "stubborn", fenced) as old:
        await said(old, "wrote")
        old.send_signal(signal.SIGSTOP)
        async with dbs.candidate("new") as new:
            await eventually(lambda: new.leadership.is_leader, within_s=20)
            old.send_signal(signal.SIGCONT)
            if fenced == "fenced":
                for _ in range(5):
                    await said(old, "fenced")
                await new.store.ready(10)
                await new.store.apply(documents(network("blue", "10.0.0.0/24")))
                await eventually(
                    lambda: [event for event in events if event.kind == EPOCH_CHANGED and event.data["revision"] == 1],
                    within_s=10,
                )
                assert violations(events, "one-controller") == []
                holders = [event.data["holder"] for event in events if event.kind == EPOCH_CHANGED]
                assert holders == ["old", "new", "new"], "each state of the row once, though three members told it"
            else:
                found = await eventually(lambda: violations(events, "one-controller"), within_s=20)
                assert "old wrote to NB under epoch 1 after epoch 2 had begun" in found


async def test_a_leader_that_hangs_is_unknown_and_its_successor_has_a_term_of_its_own(dbs: Databases) -> None:
    def leaders() -> dict[int, str]:
        return {
            event.data["term"]: event.data["node"]
            for event in events
            if event.kind == ROLE_CHANGED and event.data["database"] == "nb" and event.data["role"] == "leader"
        }

    def is_now(node: str, *roles: str) -> bool:
        return [event.data["role"] for event in events if event.subject == f"nb@{node}"][-1:][0] in roles

    async with watched(dbs) as events:
        [(term, first)] = (await eventually(leaders, within_s=10)).items()
        member = dbs[Database.NB].members[int(first[1:]) - 1]
        member.signal(signal.SIGSTOP)
        try:
            await eventually(lambda: is_now(first, "unknown"), within_s=10)
            await eventually(lambda: len(leaders()) > 1, within_s=10)
            assert max(leaders()) > term
            assert leaders()[max(leaders())] != first
        finally:
            member.signal(signal.SIGCONT)
        await eventually(lambda: is_now(first, "follower", "leader"), within_s=10)
        assert violations(events, "one-leader-per-term") == []
