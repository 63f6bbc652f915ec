"""Apply many networks with their ports: from the text of the declaration to NB's commit.

Every contender has a NB of its own that is a RAFT cluster of three members on loopback; ours has an Ovenbird database
of the same kind, too, because declaring means to store first.

    ours      `parse_documents`, `Store.apply`, until the leader's NB transaction is confirmed; `ours_unpacked_s`
              is how much later each object has a row of its own in the Ovenbird database
    ovsdbapp  one transaction per object (a network with its DHCP options, a port), on the first networks only and
              scaled up in proportion: its work per object does not shrink with their number
    nbctl     one `ovn-nbctl` per object, in the same way
    limit     the rows that ours made in NB, as one transaction, encoded beforehand, over a bare socket

    .venv/bin/python -m bench.apply_many [--networks N] [--ports N] [--sample N] [--rounds N]

Prints one JSON line: `peer` is ovsdbapp's time, `ratio` is peer / ours, all in seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import socket
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.line import Goal, print_line
from tests.controller_bench import databases, network, port
from tests.raft_cluster import NB_SCHEMA, RaftDatabase, run
from tests.waiting import eventually

from ovenbird.controller.memory import expect_many_objects
from ovenbird.model.cluster import Database
from ovenbird.model.documents import parse_documents
from ovenbird.ovsdb import Client, Replica, Transaction
from ovenbird.plan.nb_view import TABLES, WATCHED_COLUMNS

NB = Database.NB.value
TIMEOUT_S = 120.0
ELECTION_TIMER_MS = 10_000
"""So great that a busy machine brings no election about in the middle of a measurement."""


def declaration(networks: int, ports: int) -> str:
    """Return the text that declares them all."""
    texts = []
    for number in range(networks):
        texts.append(network(f"n{number}", f"10.{number // 250}.{number % 250}.0/24"))
        texts += [port(f"n{number}-p{which}", f"n{number}") for which in range(ports)]
    return "---".join(texts)


async def measure_ours(text: str, directory: Path) -> tuple[dict[str, float], bytes]:
    """Return the times of ours, and the transaction that makes the same rows, encoded."""
    with databases(directory, election_timer_ms=ELECTION_TIMER_MS) as dbs:
        async with dbs.candidate("c1") as service:
            await service.store.ready(TIMEOUT_S)
            await eventually(lambda: service.leadership.is_leader, within_s=30)
            started_s, cpu_s = time.perf_counter(), time.process_time()
            documents = parse_documents(text)
            parsed_s = time.perf_counter()
            outcome = await service.store.apply(documents, timeout_s=TIMEOUT_S)
            stored_s = time.perf_counter()
            await eventually(
                lambda: service.leadership.committed_revision >= outcome.revision, within_s=TIMEOUT_S, every_s=0.001
            )
            done_s, done_cpu_s = time.perf_counter(), time.process_time()
            await eventually(lambda: not service.store.state.batches, within_s=TIMEOUT_S, every_s=0.001)
            times = {
                "ours": done_s - started_s,
                "ours_parse_s": parsed_s - started_s,
                "ours_store_s": stored_s - parsed_s,
                "ours_nb_s": done_s - stored_s,
                "ours_cpu_s": done_cpu_s - cpu_s,
                "ours_unpacked_s": time.perf_counter() - done_s,
            }
        return times, await same_rows(dbs[Database.NB])


async def same_rows(nb: RaftDatabase) -> bytes:
    """Return the request that makes all rows of a NB again, in one transaction."""
    async with Client(NB, nb.remotes) as client, Replica(client, WATCHED_COLUMNS) as replica:
        await replica.ready(timeout_s=TIMEOUT_S)
        txn = Transaction()
        for table in TABLES:
            for uuid, row in replica.table(table).items():
                txn.insert(
                    table, {name: value for name, value in row.items() if value not in ((), {}, None)}, uuid=uuid
                )
        request = {"method": "transact", "id": 1, "params": [NB, *txn.operations(client.schema)]}
        return json.dumps(request, separators=(",", ":")).encode()


def measure_limit(request: bytes, directory: Path) -> float:
    """Return the time from the first byte sent to the server's answer."""
    with RaftDatabase(directory, NB, NB_SCHEMA, election_timer_ms=ELECTION_TIMER_MS) as nb:
        with socket.create_connection(("127.0.0.1", nb.leader().client_port), timeout=TIMEOUT_S) as connection:
            started_s = time.perf_counter()
            connection.sendall(request)
            answer = read_reply(connection)
            took_s = time.perf_counter() - started_s
        failed = [each for each in answer["result"] if not each or "error" in each]
        if failed:
            raise RuntimeError(f"the limit's transaction failed: {failed[:3]}")
        return took_s


def read_reply(connection: socket.socket) -> Any:
    """Return the first message that is a reply."""
    decoder, text = json.JSONDecoder(), ""
    while True:
        text += connection.recv(1 << 20).decode()
        try:
            message, end = decoder.raw_decode(text)
        except ValueError:
            continue
        if message.get("id") == 1:
            return message
        connection.sendall(json.dumps({"id": message["id"], "result": [], "error": None}).encode())
        text = text[end:]


def sample_objects(objects: int, ports: int) -> Iterator[tuple[int, int | None]]:
    """Yield the first so many objects as (network, None) and (network, port)."""
    for number in range(objects):
        index = number % (ports + 1)
        yield number // (ports + 1), index - 1 if index else None


def measure_ovsdbapp(objects: int, ports: int, directory: Path) -> float:
    """Return seconds per object."""
    from ovsdbapp.backend.ovs_idl import connection
    from ovsdbapp.schema.ovn_northbound import impl_idl

    with RaftDatabase(directory, NB, NB_SCHEMA, election_timer_ms=ELECTION_TIMER_MS) as nb:
        idl = connection.OvsdbIdl.from_server(",".join(nb.remotes), NB)
        # It keeps one connection per class, also a stopped one: each round has a class of its own.
        api = type("Api", (impl_idl.OvnNbApiIdlImpl,), {})(connection.Connection(idl=idl, timeout=60))
        dhcp: dict[int, Any] = {}
        started_s = time.perf_counter()
        for net, which in sample_objects(objects, ports):
            owner = {"ovenbird-owner": f"n{net}" if which is None else f"n{net}-p{which}"}
            if which is None:
                with api.transaction(check_error=True) as txn:
                    txn.add(api.ls_add(f"n{net}", external_ids=owner))
                    options = txn.add(api.dhcp_options_add(f"10.{net // 250}.{net % 250}.0/24", **owner))
                dhcp[net] = options.result.uuid
                api.dhcp_options_set_options(dhcp[net], lease_time="3600", mtu="1442").execute(check_error=True)
            else:
                addresses = [f"0a:00:00:00:{net % 256:02x}:{which:02x} 10.{net // 250}.{net % 250}.{which + 2}"]
                api.lsp_add(
                    f"n{net}",
                    f"n{net}-p{which}",
                    addresses=addresses,
                    port_security=addresses,
                    dhcpv4_options=dhcp[net],
                    external_ids=owner,
                ).execute(check_error=True)
        took_s = time.perf_counter() - started_s
        api.ovsdb_connection.stop()
        return took_s / objects


def measure_nbctl(objects: int, ports: int, directory: Path) -> float:
    """Return seconds per object."""
    with RaftDatabase(directory, NB, NB_SCHEMA, election_timer_ms=ELECTION_TIMER_MS) as nb:
        database = f"--db={','.join(nb.remotes)}"
        dhcp: dict[int, str] = {}
        started_s = time.perf_counter()
        for net, which in sample_objects(objects, ports):
            cidr = f"10.{net // 250}.{net % 250}"
            if which is None:
                words = ["--", "create", "DHCP_Options", f"cidr={cidr}.0/24", "options:lease_time=3600"]
                dhcp[net] = run("ovn-nbctl", database, "ls-add", f"n{net}", *words).strip()
            else:
                name, address = f"n{net}-p{which}", f"0a:00:00:00:{net % 256:02x}:{which:02x} {cidr}.{which + 2}"
                words = ["--", "lsp-set-addresses", name, address, "--", "lsp-set-port-security", name, address]
                words += ["--", "lsp-set-dhcpv4-options", name, dhcp[net]]
                run("ovn-nbctl", database, "lsp-add", f"n{net}", name, *words)
        return (time.perf_counter() - started_s) / objects


def main() -> None:
    expect_many_objects()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", type=int, default=1000)
    parser.add_argument("--ports", type=int, default=10)
    parser.add_argument("--sample", type=int, default=440, help="objects that ovsdbapp makes; ovn-nbctl makes a tenth")
    parser.add_argument("--rounds", type=int, default=5, help="the medians count")
    asked = parser.parse_args()
    objects = asked.networks * (asked.ports + 1)
    sample, nbctl_sample = min(asked.sample, objects), min(max(1, asked.sample // 10), objects)
    text, rounds = declaration(asked.networks, asked.ports), list[dict[str, float]]()
    for _ in range(asked.rounds):  # all contenders in turn, so that a busy moment of the machine slows each
        with tempfile.TemporaryDirectory(prefix="apply-many-") as name:
            directory = Path(name)
            times, request = asyncio.run(measure_ours(text, directory / "ours"))
            times["limit"] = measure_limit(request, directory / "limit")
            times["peer"] = objects * measure_ovsdbapp(sample, asked.ports, directory / "ovsdbapp")
            times["peer_nbctl_s"] = objects * measure_nbctl(nbctl_sample, asked.ports, directory / "nbctl")
        rounds.append(times)
        gc.collect()
    figures = {key: statistics.median(times[key] for times in rounds) for key in rounds[0]}
    figures |= {"ratio": figures["peer"] / figures["ours"], "ours_to_limit": figures["ours"] / figures["limit"]}
    line = {
        "name": f"apply {asked.networks} networks with {asked.ports} ports each, seconds",
        **{key: round(value, 3) for key, value in figures.items()},
        "ours_rounds": [round(times["ours"], 3) for times in rounds],
        "limit_rounds": [round(times["limit"], 3) for times in rounds],
        "unit": "s",
        "rounds": asked.rounds,
        "note": f"medians; ovsdbapp scaled from {sample} objects, ovn-nbctl from {nbctl_sample}, to {objects}",
    }
    print_line(line, Goal("ratio", ">=", 20.0), Goal("ours_to_limit", "<=", 3.0))


if __name__ == "__main__":
    main()
