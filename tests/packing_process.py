"""An acting controller in a process of its own that stores a great change and gets no further than a test wants.

    python -m tests.packing_process NODE PARTS NB_REMOTES OVENBIRD_REMOTES

It declares `wide` with `PORTS` ports, says "stored", unpacks so many parts of the change, says "unpacked", and waits to
be ended. What it does is the controller's own doing; it is only held up between two steps.
"""

from __future__ import annotations

import asyncio
import sys

from tests.controller_bench import CLUSTER, documents, network, port
from tests.waiting import eventually

from ovenbird.controller.batches import LEAST_OBJECTS, PART_OBJECTS
from ovenbird.controller.service import ControllerService
from ovenbird.controller.unpacking import Unpacking
from ovenbird.model.cluster import Database

PORTS = PART_OBJECTS + LEAST_OBJECTS
"""Two parts."""


def declaration(first: int = 0, count: int = PORTS) -> list[str]:
    """Return the texts of so many ports of `wide`."""
    return [port(f"vm{number}", "wide") for number in range(first, first + count)]


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def never(_: Unpacking) -> None:
    await asyncio.Event().wait()


async def main(node: str, parts: str, nb: str, ovenbird: str) -> None:
    Unpacking.run = never  # type: ignore[method-assign]
    remotes = {Database.NB: nb.split(","), Database.OVENBIRD: ovenbird.split(","), Database.SB: ["tcp:127.0.0.1:9"]}
    async with ControllerService(CLUSTER, node, remotes=remotes) as service:
        await service.store.ready(60)
        await eventually(lambda: service.leadership.is_leader, within_s=30)
        await service.store.apply(documents(network("wide", "10.60.0.0/16"), *declaration()), timeout_s=60)
        say("stored")
        for _ in range(int(parts)):
            await service.store.unpack(timeout_s=60)
        say("unpacked")
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
