"""Change one port: from the text of the declaration to NB's commit, when few ports exist and when many do.

NB and the Ovenbird database are RAFT clusters of three members each, on loopback.

    ours      `parse_documents`, `Store.apply`, until the leader's NB transaction is confirmed
    nbctl     the same change of the same port by one `ovn-nbctl`, on the same NB
    limit     two commits one after the other by a bare client, one in each database: declaring means to store first

    .venv/bin/python -m bench.change_one [--ports N] [--rounds N]

Prints one JSON line: medians in milliseconds; `ratio` is peer / ours with many ports.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from bench.line import Goal, print_line
from tests.controller_bench import Databases, databases, network
from tests.waiting import eventually

from ovenbird.controller.memory import expect_many_objects
from ovenbird.controller.service import ControllerService
from ovenbird.model.cluster import Database
from ovenbird.model.documents import parse_documents
from ovenbird.ovsdb import Client, Transaction

TIMEOUT_S = 120.0
ELECTION_TIMER_MS = 10_000
PORTS_PER_NETWORK = 100
FEW = 100
GOAL_MS = 25.0
GOAL_GROWTH = 1.5
"""How much slower it may be with many ports than with few."""
WARM_UP = 3


def name_of(port: int) -> str:
    return f"p{port}"


def document(port: int, address: int) -> str:
    number = port // PORTS_PER_NETWORK
    return f"""
kind: Port
name: {name_of(port)}
spec: {{network: n{number}, address: {prefix(number)}.{address}}}
"""


def prefix(number: int) -> str:
    return f"10.{number // 250}.{number % 250}"


def declaration(ports: int) -> str:
    networks = (ports + PORTS_PER_NETWORK - 1) // PORTS_PER_NETWORK
    texts = [network(f"n{number}", f"{prefix(number)}.0/24") for number in range(networks)]
    texts += [document(port, 2 + port % PORTS_PER_NETWORK) for port in range(ports)]
    return "---".join(texts)


async def timed(rounds: int, change: Callable[[int], Awaitable[Any]]) -> list[float]:
    """Return milliseconds of each round."""
    found = []
    for number in range(rounds + WARM_UP):
        started_s = time.perf_counter()
        await change(number)
        found.append(1000 * (time.perf_counter() - started_s))
    return found[WARM_UP:]


async def committed(service: ControllerService, revision: int) -> None:
    await eventually(lambda: service.leadership.committed_revision >= revision, within_s=TIMEOUT_S, every_s=0.0005)


async def measure_ours(service: ControllerService, rounds: int) -> list[float]:
    async def change(number: int) -> None:
        outcome = await service.store.apply(parse_documents(document(number % FEW, 150 + number % 100)))
        await committed(service, outcome.revision)

    return await timed(rounds, change)


async def measure_nbctl(service: ControllerService, dbs: Databases, rounds: int) -> list[float]:
    """The same change by hand. The controller is stopped by then: it would repair it."""
    ports = service.store.inventory.of_kind("Port")
    macs = [ports[name_of(number)].assigned.mac for number in range(FEW)]

    async def change(number: int) -> None:
        name, address = name_of(number % FEW), f"{macs[number % FEW]} {prefix(0)}.{204 + number % 50}"
        await dbs.nbctl("lsp-set-addresses", name, address, "--", "lsp-set-port-security", name, address)

    return await timed(rounds, change)


async def measure_limit(dbs: Databases, rounds: int) -> list[float]:
    async with (
        Client(Database.OVENBIRD.value, dbs.remotes[Database.OVENBIRD]) as store,
        Client(Database.NB.value, dbs.remotes[Database.NB]) as nb,
    ):
        await store.wait_connected(timeout_s=TIMEOUT_S)
        await nb.wait_connected(timeout_s=TIMEOUT_S)

        async def change(number: int) -> None:
            first, second = Transaction(), Transaction()
            first.insert("Object", {"kind": "Bench", "name": str(number), "spec": "x" * 200})
            second.insert("Address_Set", {"name": f"bench{number}", "addresses": frozenset({"192.0.2.1"})})
            await store.transact(first)
            await nb.transact(second)

        return await timed(rounds, change)


async def measure(ports: int, rounds: int, directory: Path) -> dict[str, float]:
    with databases(directory, election_timer_ms=ELECTION_TIMER_MS) as dbs:
        async with dbs.candidate("c1") as service:
            await service.store.ready(TIMEOUT_S)
            await eventually(lambda: service.leadership.is_leader, within_s=30)
            outcome = await service.store.apply(parse_documents(declaration(ports)), timeout_s=TIMEOUT_S)
            await committed(service, outcome.revision)
            ours = await measure_ours(service, rounds)
        nbctl = await measure_nbctl(service, dbs, rounds)
        limit = await measure_limit(dbs, rounds)
    return {
        "ours": statistics.median(ours),
        "ours_p95": sorted(ours)[int(0.95 * len(ours))],
        "peer": statistics.median(nbctl),
        "limit": statistics.median(limit),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--ports", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=40)
    asked = parser.parse_args()
    expect_many_objects()
    with tempfile.TemporaryDirectory(prefix="change-one-") as name:
        few = asyncio.run(measure(FEW, asked.rounds, Path(name) / "few"))
        many = asyncio.run(measure(asked.ports, asked.rounds, Path(name) / "many"))
    line = {
        "name": f"change one port of {asked.ports}, milliseconds",
        **{key: round(value, 2) for key, value in many.items()},
        "ratio": round(many["peer"] / many["ours"], 2),
        "ours_to_limit": round(many["ours"] / many["limit"], 2),
        f"ours_at_{FEW}_ports": round(few["ours"], 2),
        f"peer_at_{FEW}_ports": round(few["peer"], 2),
        "ours_growth": round(many["ours"] / few["ours"], 2),
        "unit": "ms",
    }
    print_line(line, Goal("ours", "<=", GOAL_MS), Goal("ours_growth", "<=", GOAL_GROWTH))


if __name__ == "__main__":
    main()
