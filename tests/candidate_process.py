"""A controller candidate in a process of its own, that a test can stop and continue as an operator's machine would.

    python -m tests.candidate_process NODE STUBBORN FENCED NB_REMOTES OVENBIRD_REMOTES

It writes a row of its own to NB every 20 ms as long as it believes that it leads, through the controller's own commit.
It says when it lost its place and why, and each heartbeat of another that it sees.
A stubborn one believes so for ever, whatever it hears; an unfenced one leaves the wait on the epoch out. Both are there
to show what keeps it from writing.
"""

from __future__ import annotations

import asyncio
import itertools
import sys

from tests.controller_bench import CLUSTER

from ovenbird.controller import leadership
from ovenbird.controller.events import LEADERSHIP_LOST
from ovenbird.controller.leadership import LeadershipLost
from ovenbird.controller.service import ControllerService
from ovenbird.model.cluster import Database
from ovenbird.ovsdb import OvsdbError, Transaction
from ovenbird.plan.election import Decision, Idle, Resign, Sight, Timers, decide


def never_resign(sight: Sight, timers: Timers) -> Decision:
    decision = decide(sight, timers)
    return Idle(sight.now_s + 0.1) if isinstance(decision, Resign) else decision


def unfenced(epoch: int, comment: str) -> Transaction:
    txn = Transaction(comment)
    txn.comment(f"no fence for {epoch}")
    return txn


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def scribble(service: ControllerService) -> None:
    node = service.node
    for number in itertools.count():
        epoch = service.leadership.epoch
        if epoch is not None:

            def fill(txn: Transaction, number: int = number) -> None:
                txn.insert("Address_Set", {"name": f"scribble_{node}_{number}"})

            try:
                await service.leadership.commit("scribble", fill)
                say(f"wrote {number}")
            except LeadershipLost:
                say("fenced")
            except OvsdbError as error:
                say(f"failed {error}")
        await asyncio.sleep(0.02)


async def main(node: str, stubborn: str, fenced: str, nb: str, ovenbird: str) -> None:
    if stubborn == "stubborn":
        leadership.decide = never_resign
        leadership.Leadership._resign = lambda *_: None  # type: ignore[method-assign]
    if fenced != "fenced":
        leadership.begin_fenced = unfenced
    remotes = {Database.NB: nb.split(","), Database.OVENBIRD: ovenbird.split(","), Database.SB: ["tcp:127.0.0.1:9"]}
    async with ControllerService(CLUSTER, node, remotes=remotes) as service:

        def tell_heard() -> None:
            if (pulse := service.pulses.pulse) is not None and not service.leadership.is_leader:
                say(f"heard {pulse.beat}")

        def tell_lost() -> None:
            if not service.leadership.is_leader:
                say(f"lost {service.events.named(LEADERSHIP_LOST)[-1].fields}")

        service.pulses.subscribe(tell_heard)
        service.leadership.on_change(tell_lost)
        await scribble(service)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
