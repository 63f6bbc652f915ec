"""Cold load of a Northbound database with 60,000 ports into typed rows.

Three readers of the same server, started as an agent starts it, each in a process of its own, in turn:

    ours   ovenbird.ovsdb: Client + Replica; then every column of every row is read once, within the measured time
    peer   the IDL of python `ovs`; every column of every row is read once, too
    limit  a socket, the same request, and one `json.loads` of the whole reply: nothing typed, nothing kept up to date

    .venv/bin/python -m bench.cold_load [--ports N] [--rounds N]

Prints one JSON line per benchmark.

Where our time goes: the server composes its whole reply before it sends the first byte (`server_cpu_s`, two thirds of
the whole; nobody can read meanwhile, and every reader pays it), sends it as fast as it is read, and what follows is
ours: JSON, types and the memory for them a fifth, the reading of every column a twentieth.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.line import Goal, print_line

from ovenbird.process import allocator

NB_SCHEMA = Path("/usr/share/ovn/ovn-nb.ovsschema")
DATABASE = "OVN_Northbound"
PORTS_PER_SWITCH = 50
SWITCHES_PER_TRANSACTION = 100
ZERO = "00000000-0000-0000-0000-000000000000"
TABLES = ("Logical_Switch", "Logical_Switch_Port", "NB_Global")
STALL_SAMPLE_S = 0.002
ORDER = ("limit", "ours", "peer", "ours", "limit", "ours")
"""One round: in turn, so that a busy moment of the machine slows all; the quick ones more often, as they vary more."""
GOALS = (
    Goal("ratio", ">=", 12.0),
    Goal("ours_over_limit", "<=", 2.0),
    Goal("ours_stall_ms", "<=", 250.0),
    Goal("rss_ours_over_peer", "<=", 1.0),
)


# --- the server ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def filled_server(ports: int) -> Iterator[tuple[Path, int]]:
    """Yield socket and pid of a private server that holds that many ports; the server is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="cold-load-") as name:
        directory = Path(name)
        database, sock = directory / "nb.db", directory / "nb.sock"
        subprocess.run(["ovsdb-tool", "create", database, NB_SCHEMA], check=True, timeout=30)
        server = subprocess.Popen(
            ["ovsdb-server", database, f"--remote=punix:{sock}", f"--unixctl={directory / 'nb.ctl'}", "-vconsole:off"],
            env={**os.environ, **allocator.environment()},
        )
        try:
            deadline_s = time.monotonic() + 10
            while not sock.exists():
                if time.monotonic() > deadline_s or server.poll() is not None:
                    raise RuntimeError("ovsdb-server did not start")
                time.sleep(0.02)
            fill(sock, ports)
            yield sock, server.pid
        finally:
            server.kill()
            server.wait(timeout=10)


def fill(sock: Path, ports: int) -> None:
    """Write the rows, some switches per transaction."""
    switches = max(1, ports // PORTS_PER_SWITCH)
    for first in range(0, switches, SWITCHES_PER_TRANSACTION):
        operations: list[Any] = []
        for switch in range(first, min(first + SWITCHES_PER_TRANSACTION, switches)):
            operations += switch_operations(switch)
        reply = request(sock, "transact", [DATABASE, *operations])
        failed = [answer for answer in reply["result"] if answer and "error" in answer]
        if failed:
            raise RuntimeError(f"cannot fill the database: {failed[0]}")


def switch_operations(switch: int) -> list[Any]:
    """One switch and its ports, looking like a cloud's."""
    operations: list[Any] = []
    names = []
    for number in range(PORTS_PER_SWITCH):
        token = f"p{switch}_{number}"
        names.append(["named-uuid", token])
        mac, address = f"02:00:{switch >> 8:02x}:{switch & 255:02x}:00:{number:02x}", f"10.0.{switch & 255}.{number}"
        row = {
            "name": f"port-{switch:05d}-{number:03d}",
            "addresses": f"{mac} {address}",
            "enabled": True,
            "options": ["map", [["requested-chassis", f"node-{number}"], ["mcast_flood_reports", "true"]]],
            "external_ids": [
                "map",
                [
                    ["ovenbird-owner", f"Port/port-{switch:05d}-{number:03d}"],
                    ["ovenbird-revision", "17"],
                    ["zone", "a"],
                ],
            ],
        }
        operations.append({"op": "insert", "table": "Logical_Switch_Port", "uuid-name": token, "row": row})
    ids = ["map", [["ovenbird-owner", f"Network/net-{switch:05d}"]]]
    row = {"name": f"net-{switch:05d}", "ports": ["set", names], "external_ids": ids}
    operations.append({"op": "insert", "table": "Logical_Switch", "row": row})
    return operations


def request(sock: Path, method: str, params: list[Any]) -> Any:
    """One raw call; also the benchmark's limit: read until the document is complete, decode it once."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(120)
        connection.connect(str(sock))
        connection.sendall(json.dumps({"id": 0, "method": method, "params": params}).encode())
        chunks: list[bytes] = []
        while not chunks or not chunks[-1].endswith(b"null}"):  # "error":null} ends the reply
            chunk = connection.recv(1 << 20)
            if not chunk:
                raise RuntimeError("the server closed the connection")
            chunks.append(chunk)
        return json.loads(b"".join(chunks))


# --- the readers, each in a process of its own -----------------------------------------------------------------------


def read_ours(sock: Path) -> dict[str, Any]:
    return asyncio.run(_read_ours(sock))


async def _read_ours(sock: Path) -> dict[str, Any]:
    from ovenbird.ovsdb import Client, Replica

    stalls = [0.0]
    watcher = asyncio.create_task(_watch_stalls(stalls))
    start_s = time.perf_counter()
    async with Client(DATABASE, [f"unix:{sock}"]) as client, Replica(client, dict.fromkeys(TABLES)) as replica:
        await replica.ready(timeout_s=300)
        loaded_s = time.perf_counter() - start_s
        await asyncio.sleep(0.05)  # lets the watcher see the last step
        watcher.cancel()
        touch_start_s = time.perf_counter()
        rows = 0
        for table in TABLES:
            for row in replica.table(table).values():
                rows += 1
                for column in row:
                    row[column]
        touched_s = time.perf_counter() - touch_start_s
    return {"load_s": loaded_s, "touch_s": touched_s, "rows": rows, "stall_ms": stalls[0] * 1000}


async def _watch_stalls(longest: list[float]) -> None:
    """Note how late a short sleep returns at worst: that long the event loop served nobody."""
    while True:
        before_s = time.perf_counter()
        await asyncio.sleep(STALL_SAMPLE_S)
        longest[0] = max(longest[0], time.perf_counter() - before_s - STALL_SAMPLE_S)


def read_peer(sock: Path) -> dict[str, Any]:
    import ovs.db.idl
    import ovs.poller

    start_s = time.perf_counter()
    helper = ovs.db.idl.SchemaHelper(str(NB_SCHEMA))
    for table in TABLES:
        helper.register_table(table)
    idl = ovs.db.idl.Idl(f"unix:{sock}", helper)
    stall_s = 0.0
    while not idl.has_ever_connected():
        before_s = time.perf_counter()
        idl.run()
        stall_s = max(stall_s, time.perf_counter() - before_s)
        poller = ovs.poller.Poller()
        idl.wait(poller)
        if not idl.has_ever_connected():
            poller.block()
    loaded_s = time.perf_counter() - start_s
    touch_start_s = time.perf_counter()
    rows = 0
    for table in TABLES:
        columns = tuple(idl.tables[table].columns)
        for row in idl.tables[table].rows.values():
            rows += 1
            for column in columns:
                getattr(row, column)
    touched_s = time.perf_counter() - touch_start_s
    idl.close()
    return {"load_s": loaded_s, "touch_s": touched_s, "rows": rows, "stall_ms": stall_s * 1000}


def read_limit(sock: Path) -> dict[str, Any]:
    schema = json.loads(NB_SCHEMA.read_text(encoding="ascii"))["tables"]
    tables = {table: [{"columns": list(schema[table]["columns"])}] for table in TABLES}
    start_s = time.perf_counter()
    reply = request(sock, "monitor_cond_since", [DATABASE, "limit", tables, ZERO])
    loaded_s = time.perf_counter() - start_s
    rows = sum(len(changes) for changes in reply["result"][2].values())
    return {"load_s": loaded_s, "touch_s": 0.0, "rows": rows, "stall_ms": loaded_s * 1000}


READERS = {"ours": read_ours, "peer": read_peer, "limit": read_limit}


def peak_rss_mb() -> float:
    """Return this process's own peak (getrusage would start from its parent's)."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("no VmHWM in /proc/self/status")


# --- the comparison --------------------------------------------------------------------------------------------------


def run_reader(name: str, sock: Path, server: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.cold_load", "--reader", name, "--socket", str(sock)]
    before_s = cpu_s(server)
    done = subprocess.run(command, check=True, capture_output=True, timeout=300, cwd=Path(__file__).parents[1])
    found: dict[str, Any] = json.loads(done.stdout)
    return found | {"server_cpu_s": cpu_s(server) - before_s}


def cpu_s(pid: int) -> float:
    """Return what a process has used so far (proc_pid_stat(5): utime and stime)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", maxsplit=1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def median(samples: list[dict[str, Any]], key: str) -> float:
    return statistics.median(sample[key] for sample in samples)


def compare(ports: int, rounds: int) -> dict[str, Any]:
    samples: dict[str, list[dict[str, Any]]] = {name: [] for name in READERS}
    with filled_server(ports) as (sock, server):
        for name in ORDER * rounds:
            samples[name].append(run_reader(name, sock, server))
    limit, ours, peer = samples["limit"], samples["ours"], samples["peer"]
    if len({sample["rows"] for sample in [*limit, *ours, *peer]}) != 1:
        raise RuntimeError("the readers saw different numbers of rows")
    ours_s = median(ours, "load_s") + median(ours, "touch_s")
    peer_s, limit_s = median(peer, "load_s") + median(peer, "touch_s"), median(limit, "load_s")
    return {
        "name": "cold_load",
        "ours": round(ours_s, 3),
        "peer": round(peer_s, 3),
        "limit": round(limit_s, 3),
        "ratio": round(peer_s / ours_s, 2),
        "unit": "s",
        "ours_over_limit": round(ours_s / limit_s, 2),
        "ratio_load_only": round(median(peer, "load_s") / median(ours, "load_s"), 2),
        "ours_cpu_s": round(median(ours, "cpu_s"), 3),
        "peer_cpu_s": round(median(peer, "cpu_s"), 3),
        "limit_cpu_s": round(median(limit, "cpu_s"), 3),
        "server_cpu_s": round(statistics.median(sample["server_cpu_s"] for sample in [*limit, *ours, *peer]), 2),
        "ours_touch_s": round(median(ours, "touch_s"), 3),
        "ours_worst_s": round(max(sample["load_s"] + sample["touch_s"] for sample in ours), 3),
        "peer_touch_s": round(median(peer, "touch_s"), 3),
        "ours_stall_ms": round(max(sample["stall_ms"] for sample in ours), 1),
        "peer_stall_ms": round(median(peer, "stall_ms"), 1),
        "ours_rss_mb": round(max(sample["rss_mb"] for sample in ours), 1),
        "peer_rss_mb": round(median(peer, "rss_mb"), 1),
        "rss_ours_over_peer": round(max(s["rss_mb"] for s in ours) / median(peer, "rss_mb"), 2),
        "limit_rss_mb": round(median(limit, "rss_mb"), 1),
        "rows": ours[0]["rows"],
        "rounds": rounds,
        "load_average": round(os.getloadavg()[0], 2),
        "note": "ours and peer include one read of every column of every row; cpu_s is the client process alone, "
        "server_cpu_s what the server needs before its first byte, for any reader",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0] if __doc__ else None)
    parser.add_argument("--ports", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=3, help="each runs the peer once; the median counts")
    parser.add_argument("--reader", choices=sorted(READERS), help=argparse.SUPPRESS)
    parser.add_argument("--socket", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.reader:
        before_s = time.process_time()
        found = READERS[arguments.reader](arguments.socket)
        found["cpu_s"] = time.process_time() - before_s
        found["rss_mb"] = peak_rss_mb()
        print(json.dumps(found))
        return
    print_line(compare(arguments.ports, arguments.rounds), *GOALS)


if __name__ == "__main__":
    main()
