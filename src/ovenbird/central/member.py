"""One host's member of one RAFT database: gets the file (create or join, see `plan.bootstrap`), then keeps the server.

A database file is never deleted here and never overwritten: it is made under another name and then renamed.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from contextlib import suppress
from pathlib import Path

from ovenbird.central.inspect import ask_peer, read_file
from ovenbird.central.reserve import RESERVE_BYTES, Reserve
from ovenbird.model.cluster import Cluster, Database, Host, bracketed
from ovenbird.model.errors import Refused, Unavailable
from ovenbird.model.layout import Layout
from ovenbird.model.raft_status import RaftStatus, parse_raft_status
from ovenbird.ovsdb import OvsdbError
from ovenbird.plan.bootstrap import Create, Join, Observation, Peer, PeerAnswer, Refuse, Serve, Wait, decide
from ovenbird.process import allocator, daemon
from ovenbird.process.command import run
from ovenbird.process.daemon import DaemonSpec
from ovenbird.process.pace import next_beat
from ovenbird.process.supervisor import Kept

DATABASE_CREATED = "database.created"
DATABASE_JOINING = "database.joining"
DATABASE_WAITING = "database.waiting"
DATABASE_READY = "database.ready"
DATABASE_JOIN_RETRIED = "database.join_retried"
DATABASE_FAILED = "database.failed"

SCHEMAS = {
    Database.NB: Path("/usr/share/ovn/ovn-nb.ovsschema"),
    Database.SB: Path("/usr/share/ovn/ovn-sb.ovsschema"),
    Database.OVENBIRD: Path(__file__).parent.parent / "ovenbird.ovsschema",
}
POLL_S = 0.1
PEER_POLL_S = 0.15
LONGEST_PEER_POLL_S = 1.0
JOIN_DEADLINE_S = 15.0
"""A join that took longer is started again: OVS 3.1.0 can hang in it for ever (fixed by af5a99737 in 3.1.5)."""
DISK_POLL_S = 0.2
FAILURE_POLL_S = 1.0
"""With blocks in reserve a write fails only where the disk itself does: asking the server is what costs most here."""
LOW_WATER_BYTES = 4 << 20
"""A member whose disk has less room is ended, while its log is still whole."""
PROBE_BYTES = LOW_WATER_BYTES + len(Database) * RESERVE_BYTES
"""Room that must be there before it is started again."""

_log = logging.getLogger(__name__)


def raft_remote(host: Host, database: Database) -> str:
    """Return where a host's member listens for members."""
    return f"tcp:{bracketed(host.address)}:{database.raft_port}"


def server_spec(host: Host, database: Database, layout: Layout) -> DaemonSpec:
    """Return the server of one database: a process of its own, so that a stall of one database does not stall another.

    The listener keeps ovsdb-server's own probe of 5 s: a client that is silent for 10 s is dropped, and with it its
    locks.
    """
    stem = layout.database_run(database)
    return DaemonSpec(
        name=stem.name if database is not Database.OVENBIRD else "ovenbird_db",
        argv=(
            "ovsdb-server",
            f"--remote=ptcp:{database.client_port}:{bracketed(host.address)}",
            f"--remote=punix:{stem}.sock",
            str(layout.database_file(database)),
        ),
        pidfile=Path(f"{stem}.pid"),
        control=f"{stem}.ctl",
        log=layout.database_log(database),
        env=allocator.environment(),
    )


class Member:
    """One database on this host. `ready` is set once this member takes part in a cluster that has a leader."""

    def __init__(self, cluster: Cluster, host: Host, database: Database, layout: Layout) -> None:
        self.database = database
        self.spec = server_spec(host, database, layout)
        self.ready = asyncio.Event()
        self._cluster = cluster
        self._host = host
        self._layout = layout
        self._file = layout.database_file(database)
        self._reserve = Reserve(self._file)
        self._kept = Kept(self.spec, before_start=self._need_room, on_up=self._tune)

    async def run(self) -> None:
        """Get the file, then keep the server, until cancelled. Raises `Refused` when a person must decide."""
        await self._obtain_file()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._kept.run())
            group.create_task(self._watch_join())
            group.create_task(self._watch_failure())

    async def status(self) -> RaftStatus:
        """Ask the server. Raises `OvsdbError` or `OSError` when it cannot be asked."""
        return parse_raft_status(await daemon.ask(self.spec, "cluster/status", self.database.value))

    async def _obtain_file(self) -> None:
        peers: tuple[Peer, ...] = ()
        alike, waiting, pause_s = 0, "", PEER_POLL_S
        while True:
            file = await read_file(self._file)
            answers = () if file is not None else await self._ask_peers()
            alike = alike + 1 if _gist(answers) == _gist(peers) else 1
            peers = answers
            decision = decide(
                Observation(
                    database=self.database,
                    raft_remote=raft_remote(self._host, self.database),
                    file=file,
                    permitted=self._layout.permission.exists(),
                    peers=peers,
                    seen_alike=alike,
                )
            )
            match decision:
                case Serve():
                    return
                case Create():
                    return await self._create()
                case Join(cid, remotes):
                    return await self._join(cid, remotes)
                case Refuse(code, reason, hint):
                    raise Refused(reason, code=code, subject=self.database.value, hint=hint)
                case Wait(reason):
                    if reason != waiting:
                        _log.info(DATABASE_WAITING, extra={"database": self.database.value, "reason": reason})
                        waiting = reason
            await asyncio.sleep(pause_s)
            pause_s = min(LONGEST_PEER_POLL_S, pause_s * 1.2)

    async def _ask_peers(self) -> tuple[Peer, ...]:
        others = [host for host in self._cluster.centrals if host.name != self._host.name]
        return tuple(
            await asyncio.gather(*(ask_peer(peer, self.database, raft_remote(peer, self.database)) for peer in others))
        )

    async def _create(self) -> None:
        timer = f"--election-timer={self._cluster.election_timer_ms}"
        schema = str(SCHEMAS[self.database])
        await self._make(timer, "create-cluster", "{file}", schema, raft_remote(self._host, self.database))
        _log.warning(DATABASE_CREATED, extra={"database": self.database.value, "file": str(self._file)})

    async def _join(self, cid: str, remotes: tuple[str, ...]) -> None:
        here = raft_remote(self._host, self.database)
        await self._make(f"--cid={cid}", "join-cluster", "{file}", self.database.value, here, *remotes)
        _log.info(DATABASE_JOINING, extra={"database": self.database.value, "cid": cid, "through": remotes})

    async def _make(self, *words: str) -> None:
        """Run ovsdb-tool on a temporary name, then rename: after a crash half-way there is no half file to serve."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        half = self._file.with_suffix(".new")
        lock = half.with_name(f".{half.name}.~lock~")
        half.unlink(missing_ok=True)
        await run("ovsdb-tool", *(word.format(file=half) for word in words))
        half.rename(self._file)
        lock.unlink(missing_ok=True)

    async def _need_room(self) -> None:
        """Raise `Unavailable` while the disk takes no data: a log that cannot grow is not to be opened."""
        if not await asyncio.to_thread(_takes_data, self._file.parent):
            raise Unavailable(f"{self._file.parent} takes no data", code="no_room", subject=self.database.value)
        await self._reserve.keep()

    async def _tune(self) -> None:
        """Apply what the server forgets with each start (ovsdb-server(8))."""
        with suppress(OvsdbError, OSError):
            await daemon.ask(self.spec, "ovsdb-server/memory-trim-on-compaction", "on")

    async def _watch_join(self) -> None:
        """Set `ready`; restart a server whose join makes no progress (same file, same server id)."""
        began = since = time.monotonic()
        while True:
            await self._kept.up.wait()
            with suppress(OvsdbError, OSError):
                status = await self.status()
                if status.is_serving:
                    self.ready.set()
                    took_ms = round((time.monotonic() - began) * 1000)
                    _log.info(
                        DATABASE_READY, extra={"database": self.database.value, "role": status.role, "took_ms": took_ms}
                    )
                    return
                if status.status == "joining cluster" and time.monotonic() - since > JOIN_DEADLINE_S:
                    since = time.monotonic()
                    _log.warning(DATABASE_JOIN_RETRIED, extra={"database": self.database.value, "sid": status.sid})
                    await daemon.stop(self.spec)
            await asyncio.sleep(POLL_S)

    async def _watch_failure(self) -> None:
        """End a member that cannot write its log, or soon will not; it starts again once its disk takes data.

        OVS 3.1.0 never recovers from a failed write by itself. A leader stays "failed" and goes on believing to lead; a
        follower calls itself healthy and notes commits of entries that it never wrote, and such a log cannot be opened
        any more ("advances commit index to N but last log index is N-1"). So it must end before the disk is full; until
        then it writes into the reserve.
        """
        await self.ready.wait()
        asked_s = 0.0
        while True:
            await next_beat(DISK_POLL_S)
            why = "the disk is nearly full" if _free_bytes(self._file.parent) < LOW_WATER_BYTES else ""
            if not why:
                await self._reserve.keep()
            if not why and time.monotonic() - asked_s >= FAILURE_POLL_S:
                asked_s = time.monotonic()
                with suppress(OvsdbError, OSError):
                    why = "a write failed" if (await self.status()).status == "failed" else ""
            if why and self._kept.up.is_set():
                extra = {"database": self.database.value, "file": str(self._file), "why": why}
                _log.error(DATABASE_FAILED, extra=extra)
                await daemon.kill(self.spec)


def _free_bytes(directory: Path) -> int:
    seen = os.statvfs(directory)
    return seen.f_bavail * seen.f_frsize


def _takes_data(directory: Path) -> bool:
    """Whether there is room here and a file can be written that reaches the disk."""
    if _free_bytes(directory) < PROBE_BYTES:
        return False
    probe = directory / ".ovenbird-probe"
    try:
        with probe.open("wb") as file:
            file.write(bytes(1 << 16))
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        return False
    finally:
        with suppress(OSError):
            probe.unlink()
    return True


def _gist(peers: tuple[Peer, ...]) -> list[tuple[str, PeerAnswer, str]]:
    return [(peer.name, peer.answer, peer.cid) for peer in peers]
