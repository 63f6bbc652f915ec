"""One controller acts at a time, whatever happens to candidates and servers; who was superseded cannot write."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.controller_bench import Databases, databases, documents, network, port, said, scribbler
from tests.waiting import eventually

from ovenbird.controller.events import LEADERSHIP_LOST, LEADERSHIP_TAKEN, LEADERSHIP_WON, Event, Events
from ovenbird.controller.fence import PULSE_TABLE, raise_epoch
from ovenbird.controller.leadership import LOCK
from ovenbird.controller.pulse import PulseWatch
from ovenbird.controller.service import ControllerService
from ovenbird.model.cluster import Database
from ovenbird.ovsdb import Client, Replica, Transaction, WaitFailed
from ovenbird.plan.election import CONTROL_UUID, Claim, Control, Timers, Why
from ovenbird.plan.pulse import PulseTimers

pytestmark = pytest.mark.daemons


@pytest.fixture
def dbs(tmp_path: Path) -> Iterator[Databases]:
    with databases(tmp_path) as found:
        yield found


def leaders(candidates: list[ControllerService]) -> list[ControllerService]:
    return [each for each in candidates if each.leadership.is_leader]


async def test_of_three_candidates_one_acts_and_another_takes_over(dbs: Databases) -> None:
    async with contextlib.AsyncExitStack() as stack:
        candidates, stacks = [], {}
        for node in ("c1", "c2", "c3"):
            own = await stack.enter_async_context(contextlib.AsyncExitStack())
            candidates.append(await own.enter_async_context(dbs.candidate(node)))
            stacks[node] = own
        await eventually(lambda: leaders(candidates), within_s=30)
        # Declared through any of them, realised by the one that leads, known to all.
        for number, each in enumerate(candidates):
            await each.store.ready(10)
            await each.store.apply(documents(network(f"n{number}", f"10.{number}.0.0/24")))
        await eventually(lambda: {each.nb.last_control.revision for each in candidates} == {3}, within_s=10)
        (first,) = leaders(candidates)
        assert {each.leadership.holder for each in candidates} == {first.node}
        assert sum(each.events.counts[LEADERSHIP_WON] for each in candidates) == 1
        others = [each for each in candidates if each is not first]
        await stacks[first.node].aclose()
        (second,) = await eventually(lambda: leaders(others), within_s=30)
        assert second.leadership.epoch == 2
        await others[0].store.apply(documents(network("after", "10.9.0.0/24")))
        await eventually(lambda: second.nb.last_control.revision == 4, within_s=10)
        assert len(await dbs.column("Logical_Switch", "name")) == 4


async def test_a_candidate_acts_when_nb_comes_back_as_it_was(dbs: Databases) -> None:
    """It has the lock before it sees NB, and nothing that is in NB or declared changes any more."""
    async with dbs.candidate("c1") as one:
        await eventually(lambda: one.leadership.is_leader, within_s=30)
        for member in dbs[Database.NB].members:
            member.kill()
        (await asyncio.to_thread(dbs[Database.OVENBIRD].leader)).kill()
        await eventually(lambda: not one.store.synced, within_s=10)
        lock = one.store.client.lock(LOCK)
        await eventually(lambda: one.store.synced and lock.held and not one.leadership.is_leader, within_s=20)
        for member in dbs[Database.NB].members:
            member.start()
        await eventually(lambda: one.leadership.is_leader, within_s=20)


async def test_a_leader_that_beats_but_reconciles_no_more_gives_its_place_up_and_stands_again_when_it_can(
    dbs: Databases,
) -> None:
    timers = Timers(stuck_s=3.0, backoff_s=0.1)
    async with dbs.candidate("c1", timers=timers) as hung:
        await eventually(lambda: hung.leadership.is_leader, within_s=30)
        async with dbs.candidate("c2", timers=timers) as other:
            await other.store.ready(10)
            settle, over = hung.nb.settle, asyncio.Event()

            async def hangs(control: Control) -> None:
                await over.wait()
                await settle(control)

            hung.nb.settle = hangs  # type: ignore[method-assign]
            await other.store.apply(documents(network("n1", "10.1.0.0/24")))
            await eventually(lambda: other.nb.last_control.revision == 1, within_s=20)
            assert other.leadership.is_leader
            assert [event.fields["why"] for event in hung.events.named(LEADERSHIP_LOST)] == [Why.STUCK.value]
        assert not hung.leadership.is_leader, "the other one has left, and this one cannot act yet"
        over.set()
        await eventually(lambda: hung.leadership.is_leader, within_s=20)


async def test_a_leader_whose_nb_hangs_gives_up_and_another_may_try(dbs: Databases) -> None:
    async with dbs.candidate("c1") as service:
        await eventually(lambda: service.leadership.is_leader, within_s=30)
        members = dbs[Database.NB].members
        try:
            # Connections stay and the lock is held, but no write can be confirmed.
            for member in members:
                member.signal(signal.SIGSTOP)
            await eventually(lambda: not service.leadership.is_leader, within_s=9)
        finally:
            for member in members:
                member.signal(signal.SIGCONT)
        assert "NB" in service.events.named(LEADERSHIP_LOST)[0].fields["why"]
        assert not service.leadership._lock.held
        await eventually(lambda: service.leadership.is_leader, within_s=30)
        assert service.leadership.epoch == 2


async def test_losing_the_ovenbird_leader_moves_the_election_along(dbs: Databases) -> None:
    async with dbs.candidate("c1") as one, dbs.candidate("c2") as two:
        await eventually(lambda: leaders([one, two]), within_s=30)
        await one.store.ready(10)
        await one.store.apply(documents(network("blue", "10.0.0.0/24")))
        (await asyncio.to_thread(dbs[Database.OVENBIRD].leader)).kill()
        await eventually(lambda: not (one.leadership.epoch == 1 or two.leadership.epoch == 1), within_s=10)
        await eventually(lambda: leaders([one, two]), within_s=30)
        await two.store.apply(documents(port("vm1", "blue")))
        await eventually(lambda: two.nb.last_control.revision == 2, within_s=15)
        assert len(leaders([one, two])) == 1


async def test_a_deleted_control_row_fences_and_is_made_again(dbs: Databases) -> None:
    async with dbs.candidate("c1") as service:
        await eventually(lambda: service.leadership.is_leader, within_s=30)
        await dbs.nbctl("destroy", "Address_Set", CONTROL_UUID)
        await eventually(lambda: service.events.counts[LEADERSHIP_LOST], within_s=10)
        await eventually(lambda: service.leadership.is_leader, within_s=30)
        assert service.leadership.epoch == 2
        assert service.nb.last_control.holder == "c1"


@pytest.mark.parametrize("fenced", ["fenced", "unfenced"])
async def test_a_leader_that_slept_cannot_write_when_it_wakes(dbs: Databases, fenced: str) -> None:
    """The stubborn leader ignores everything that it hears, so that the fence alone stands between it and NB.

    Unfenced, the same leader does write: that is what the fence prevents, and shows that this test can tell.
    """
    async with scribbler(dbs, "stubborn", fenced) as old:
        await said(old, "wrote")
        old.send_signal(signal.SIGSTOP)
        async with (
            dbs.candidate("new") as new,
            Client("OVN_Northbound", dbs.remotes[Database.NB]) as client,
            Replica(client, {"Address_Set": ["name"]}) as replica,
        ):
            await eventually(lambda: new.leadership.is_leader, within_s=20)
            await replica.ready(timeout_s=10)

            def scribbles() -> int:
                return sum("scribble_old" in row["name"] for row in replica.table("Address_Set").values())

            before = scribbles()
            assert before > 0
            old.send_signal(signal.SIGCONT)
            if fenced == "fenced":
                for _ in range(5):
                    await said(old, "fenced")
                await new.store.ready(10)
                await new.store.apply(documents(network("blue", "10.0.0.0/24")))
                await eventually(lambda: new.nb.last_control.revision == 1, within_s=10)
                assert scribbles() == before
                assert new.leadership.epoch == 2
            else:
                await eventually(lambda: scribbles() > before, within_s=20)


async def test_a_leader_that_hangs_is_robbed_by_one_candidate_and_steps_down_when_it_wakes(dbs: Databases) -> None:
    async with scribbler(dbs, "obedient", "fenced") as old:
        await said(old, "wrote")
        async with dbs.candidate("one") as one, dbs.candidate("two") as two:
            await eventually(lambda: all(each.pulses.pulse is not None for each in (one, two)), within_s=20)
            old.send_signal(signal.SIGSTOP)
            (new,) = await eventually(lambda: leaders([one, two]), within_s=20)
            # Not by the database server's own probe, which gives a silent client up after 10 s.
            assert "from old: beat" in new.events.named(LEADERSHIP_TAKEN)[0].fields["evidence"]
            epoch = new.leadership.epoch
            assert epoch is not None and epoch >= 2
            await new.store.ready(10)
            await new.store.apply(documents(network("blue", "10.0.0.0/24")))
            await eventually(lambda: new.nb.last_control.revision == 1, within_s=10)
            old.send_signal(signal.SIGCONT)
            assert "'epoch': 1" in await said(old, "lost")
            # It hears the new one's heartbeats, and does not rob it in turn.
            for _ in range(4):
                await said(old, "heard")
            assert not thefts_by("old", one, two)


async def test_a_candidate_that_slept_does_not_rob_a_leader_that_went_on(dbs: Databases) -> None:
    """When it wakes, the last heartbeat that it has seen is an old one, and its clock says so."""
    async with dbs.candidate("new") as leader:
        await eventually(lambda: leader.leadership.is_leader, within_s=30)
        async with scribbler(dbs, "obedient", "fenced") as sleeper:
            await said(sleeper, "heard")
            sleeper.send_signal(signal.SIGSTOP)
            beat = beats(leader)
            await eventually(lambda: beats(leader) >= beat + 5, within_s=15)
            sleeper.send_signal(signal.SIGCONT)
            for _ in range(4):
                await said(sleeper, "heard")
            assert not thefts_by("old", leader)


async def test_a_heartbeat_that_moved_after_all_leaves_its_leader_everything(dbs: Databases) -> None:
    """Whoever robs by an old view is refused by the database itself: neither epoch nor lock change."""
    async with dbs.candidate("one") as service:
        await eventually(lambda: service.leadership.is_leader and beats(service) >= 1, within_s=30)
        seen, control = service.pulses.pulse, service.nb.control
        assert seen is not None and control is not None
        await eventually(lambda: beats(service) > seen.beat, within_s=10)
        claim = Claim(seen.epoch + 1, seen.epoch, control, robbed=seen)
        with pytest.raises(WaitFailed):
            await service.store.client.transact(raise_epoch(claim, "thief", beats=True), timeout_s=10)
        assert service.pulses.last is not None and service.pulses.last.holder == "one"
        # The same without that wait is what a theft is.
        now = replace(claim, robbed=None)
        await service.store.client.transact(raise_epoch(now, "thief", beats=True, taken="from one"), timeout_s=10)
        await eventually(lambda: service.events.counts[LEADERSHIP_LOST], within_s=10)


async def test_while_the_databases_have_no_leader_nobody_is_robbed(dbs: Databases) -> None:
    """Nobody can beat meanwhile; afterwards the one that comes first acts, by the lock alone."""
    async with dbs.candidate("one") as one, dbs.candidate("two") as two:
        await eventually(lambda: leaders([one, two]) and one.pulses.pulse and two.pulses.pulse, within_s=30)
        members = dbs[Database.OVENBIRD].members
        try:
            for member in members:
                member.signal(signal.SIGSTOP)
            await asyncio.wait_for(silence(one, 5.0), 30)
        finally:
            for member in members:
                member.signal(signal.SIGCONT)
        await eventually(lambda: leaders([one, two]) and one.store.synced and two.store.synced, within_s=30)
        resumed_s = asyncio.get_running_loop().time()
        await eventually(lambda: one.pulses.pulse and one.pulses.pulse.since_s > resumed_s, within_s=15)
        assert not one.events.counts[LEADERSHIP_TAKEN] and not two.events.counts[LEADERSHIP_TAKEN]


async def test_time_counts_only_in_sight_of_the_database_and_thefts_only_of_who_had_hardly_begun(
    tmp_path: Path,
) -> None:
    with databases(tmp_path, size=1, only=(Database.OVENBIRD,)) as found:
        (server,) = found[Database.OVENBIRD].members
        async with (
            Client("Ovenbird", found.remotes[Database.OVENBIRD]) as client,
            PulseWatch(client, Events("c1"), PulseTimers()) as watch,
        ):
            await client.wait_connected(timeout_s=30)

            async def becomes(epoch: int, beat: int, taken: str = "") -> None:
                txn = Transaction("a heartbeat")
                txn.delete(PULSE_TABLE, where=[])
                txn.insert(PULSE_TABLE, {"epoch": epoch, "holder": "h", "beat": beat, "taken": taken})
                await client.transact(txn)
                await eventually(
                    lambda: watch.pulse and (watch.pulse.epoch, watch.pulse.beat) == (epoch, beat), within_s=10
                )

            for epoch, beat, taken, thefts in (
                (1, 0, "", 0),
                (1, 3, "", 0),
                (2, 2, "from h", 0),
                (3, 0, "from h", 1),
                (4, 9, "", 1),
            ):
                await becomes(epoch, beat, taken)
                assert watch.thefts() == thefts
            before = watch.pulse
            assert before is not None
            server.kill()
            await eventually(lambda: watch.pulse is None, within_s=10)
            server.start()
            after = await eventually(lambda: watch.pulse, within_s=20)
            assert (after.epoch, after.beat) == (before.epoch, before.beat)
            assert after.since_s > before.since_s


def thefts_by(thief: str, *services: ControllerService) -> list[Event]:
    """Return when these lost their place to that one by theft."""
    lost = [event for each in services for event in each.events.named(LEADERSHIP_LOST)]
    return [event for event in lost if event.fields.get("by") == thief and event.fields["taken"]]


def beats(service: ControllerService) -> int:
    return service.pulses.last.beat if service.pulses.last else 0


async def silence(service: ControllerService, for_s: float) -> None:
    """Return when this candidate has not seen a heartbeat for so long."""
    clock = asyncio.get_running_loop().time
    while (last := service.pulses.last) is None or clock() - last.since_s < for_s:
        await asyncio.sleep(0.1)
