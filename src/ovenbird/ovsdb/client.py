"""A client of one database on one or several servers: keeps exactly one good connection, and says why when it cannot.

All remotes are tried, a little staggered, and the first server that passes judgement (leader, cluster, log index)
is used until it stops to be good. A request in flight when the connection ends fails with ConnectionLost and is
never sent again: only its owner knows whether that would be right.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from ovenbird.ovsdb.backoff import Backoff
from ovenbird.ovsdb.connection import Connection, RawJson
from ovenbird.ovsdb.errors import DeadlineExceeded, NotConnected, OvsdbError
from ovenbird.ovsdb.lock import Lock
from ovenbird.ovsdb.remotes import Remote, Tls, describe, parse_remote
from ovenbird.ovsdb.schema import Schema
from ovenbird.ovsdb.server import ServerDatabase, ServerInfo, judge
from ovenbird.ovsdb.session import Session
from ovenbird.ovsdb.signal import Signal
from ovenbird.ovsdb.successor import watch_for_successor
from ovenbird.ovsdb.transaction import Result, Transaction, read_answers

log = logging.getLogger(__name__)

ENCODE_SLICE = 500
"""Operations that are encoded between two pauses: about 10 ms."""
BULK_BYTES = 128 * 1024
"""From so many characters on, a transaction of few operations is a great one, too."""
HANDSHAKE_S = 5.0
"""Longest time for one server to accept the connection and tell about itself."""
LINGER_S = 2.0
"""How long answers to requests under way are waited for when a server is left (a deposed leader still forwards)."""
STAGGER_S = 0.1
"""Head start of each remote over the next: a healthy first one spares the others, a dead one costs this much."""


@dataclass(frozen=True, slots=True)
class ConnectionState:
    """Whether there is a usable connection, and if not, why."""

    connected: bool
    remote: str | None
    server: ServerInfo | None
    reason: str


class Client:
    """A supervised connection: `async with Client("OVN_Northbound", ["tcp:127.0.0.1:6641"]) as client`."""

    def __init__(
        self,
        database: str,
        remotes: Sequence[str],
        *,
        leader_only: bool = True,
        cluster_id: str | None = None,
        tls: Tls | None = None,
        probe_interval_ms: int = 5000,
        backoff: Backoff = Backoff(),  # noqa: B008 - a frozen value
        bulk_operations: int | None = None,
    ) -> None:
        """Nothing is opened yet.

        `bulk_operations`: transactions of at least so many, or of `BULK_BYTES`, go over a second connection, on which
        nothing is monitored.
        Their reply comes before a replica here shows what they changed; any other's comes after.

        `probe_interval_ms`: a server that is silent for twice this long is given up; 0 turns probing off. A server does
        one thing at a time, so twice this must be longer than it needs for the largest transaction. One that is
        silent while another passes judgement is left after some two seconds (`ovenbird.ovsdb.successor`).
        """
        if not remotes:
            raise ValueError("at least one remote is needed")
        self.database = database
        self._remotes: tuple[Remote, ...] = tuple(parse_remote(text) for text in remotes)
        self._leader_only = leader_only
        self._cluster_id = cluster_id
        self._tls = tls
        self._probe_interval_ms = probe_interval_ms
        self._backoff = backoff
        self._bulk_operations = bulk_operations
        self._session: Session | None = None
        self._min_index: dict[str | None, int] = {}
        self._locks: dict[str, Lock] = {}
        self._reasons: dict[str, str] = {}
        self._changed = Signal()
        self._lingering: set[asyncio.Task[None]] = set()
        self._connections: set[Connection] = set()
        """Everything that may still need closing when the client closes, at whatever point it was interrupted."""
        self._supervisor: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._supervisor = asyncio.get_running_loop().create_task(self._supervise(), name=f"ovsdb {self.database}")
        self._supervisor.add_done_callback(_report_crash)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        supervisor, self._supervisor = self._supervisor, None
        if supervisor is not None:
            supervisor.cancel()
            await asyncio.gather(supervisor, return_exceptions=True)
        for lingering in self._lingering:
            lingering.cancel()
        await asyncio.gather(*self._lingering, return_exceptions=True)
        await asyncio.gather(*(connection.close() for connection in self._connections))
        self._changed.fire()

    # --- what is known now ---

    @property
    def connected(self) -> bool:
        """Whether there is a usable connection."""
        return self._session is not None

    @property
    def remote(self) -> str | None:
        """The remote in use."""
        return self._session.connection.remote.text if self._session else None

    @property
    def server(self) -> ServerInfo | None:
        """What the server in use says about itself."""
        return self._session.server if self._session else None

    @property
    def schema(self) -> Schema:
        """The schema of the server in use. Raises NotConnected."""
        return self._require().schema

    @property
    def reasons(self) -> dict[str, str]:
        """Per remote, why it was last refused or lost; empty for the one in use."""
        return dict(self._reasons)

    @property
    def state(self) -> ConnectionState:
        """The present state."""
        if self._session is not None:
            return ConnectionState(True, self.remote, self.server, "")
        return ConnectionState(False, None, None, self._why_not())

    async def state_changes(self) -> AsyncIterator[ConnectionState]:
        """Yield the present state, then each new one. A slow reader sees only the latest."""
        seen: ConnectionState | None = None
        while True:
            state = self.state
            if seen is None or (state.connected, state.remote) != (seen.connected, seen.remote):
                seen = state
                yield state
            else:
                await self._changed.wait()

    async def wait_connected(self, *, timeout_s: float) -> None:
        """Return when there is a usable connection. Raises DeadlineExceeded that says per remote why there is none."""
        try:
            async with asyncio.timeout(timeout_s):
                await self.session_after(None)
        except TimeoutError as error:
            message = f"no connection to {self.database} within {timeout_s:g} s: {self._why_not()}"
            raise DeadlineExceeded(message) from error

    def expect_cluster(self, cluster_id: str | None) -> None:
        """Knowingly go over to another cluster (after a rebuild): forgets the indexes seen, reconnects if needed."""
        self._cluster_id = cluster_id
        self._min_index.clear()
        if self._session is not None:
            try:
                self._judge(self._session.server)
            except OvsdbError as reason:
                self._session.end(reason.details)

    # --- requests ---

    async def transact(
        self, txn: Transaction, *, timeout_s: float = 10.0, on_sent: Callable[[], None] | None = None
    ) -> Result:
        """Commit a transaction.

        `on_sent` is called when all of it is on its way, and the server's turn to work has come.
        Raises SchemaError and NotConnected (nothing was sent), TransactionError (nothing was changed), ConnectionLost
        and DeadlineExceeded (outcome unknown).
        """
        session = self._require()
        operations = await _encoded(txn, session.schema)
        if self._session is not session:
            raise NotConnected(f"no connection to {self.database}: {self._why_not()}")
        params = RawJson(f"[{','.join([json.dumps(self.database), *operations])}]")
        connection = session.connection
        if session.bulk and self._is_great(operations) and not txn.asserts_lock:
            connection = session.bulk  # locks belong to the other one
        answers = await connection.call("transact", params, timeout_s=timeout_s, on_sent=on_sent)
        return Result(session.schema, operations, read_answers(operations, answers))

    def _is_great(self, operations: Sequence[str]) -> bool:
        least = self._bulk_operations
        return least is not None and (len(operations) >= least or sum(map(len, operations)) >= BULK_BYTES)

    async def call(self, method: str, params: list[Any], *, timeout_s: float) -> Any:
        """Send any request and return its result. Raises CallError, ConnectionLost, DeadlineExceeded, NotConnected."""
        return await self._require().connection.call(method, params, timeout_s=timeout_s)

    async def echo(self, *, timeout_s: float) -> None:
        """One round trip: proves that the server's event loop answers, not that a commit would."""
        await self.call("echo", [], timeout_s=timeout_s)

    def hold_news(self, for_s: float) -> None:
        """Have what the server tells of its own accord wait a little, while something more urgent is done.

        Replicas do not change meanwhile. Only with `bulk_operations`: replies to great transactions come all the same.
        """
        if self._session is not None and self._session.bulk is not None:
            self._session.connection.hold(for_s)

    def release_news(self) -> None:
        """End `hold_news` before its time."""
        if self._session is not None:
            self._session.connection.hold(0)

    def lock(self, name: str) -> Lock:
        """Return the handle of a named lock (one per name). Nothing is asked for yet."""
        if name not in self._locks:
            self._locks[name] = Lock(name, self)
        return self._locks[name]

    async def session_after(self, previous: Session | None) -> Session:
        """Return the present session once it is another than `previous`."""
        while self._session is None or self._session is previous or self._session.ended.done():
            await self._changed.wait()
        return self._session

    @property
    def session(self) -> Session | None:
        """The present session (for replicas and locks)."""
        return self._session

    # --- supervision ---

    def _require(self) -> Session:
        if self._session is None or self._session.ended.done():
            raise NotConnected(f"no connection to {self.database}: {self._why_not()}")
        return self._session

    def _why_not(self) -> str:
        reasons = [f"{remote.text}: {self._reasons.get(remote.text, 'not tried yet')}" for remote in self._remotes]
        return "; ".join(reasons)

    def _judge(self, server: ServerDatabase) -> None:
        judge(server, leader_only=self._leader_only, cluster_id=self._cluster_id, min_index=self._min_index)
        if server.index is not None:
            self._min_index[server.cid] = max(server.index, self._min_index.get(server.cid, 0))

    async def _supervise(self) -> None:
        """Connect, serve, and connect again, with a pause when sessions do not last."""
        loop = asyncio.get_running_loop()
        short_lived = 0
        while True:
            session = await self._race()
            started_s = loop.time()
            await self._serve(session)
            short_lived = 0 if loop.time() - started_s > self._backoff.cap_ms / 1000 else short_lived + 1
            await asyncio.sleep(self._backoff.delay_ms(short_lived - 1, random.random()) / 1000)

    async def _serve(self, session: Session) -> None:
        """Use a session until it ends."""
        remote = session.connection.remote.text
        self._reasons.pop(remote, None)
        self._session = session
        log.info("%s: connected to %s", self.database, remote)
        watcher: asyncio.Task[None] | None = None
        try:
            self._changed.fire()
            for lock in self._locks.values():
                lock.reconnected(session)
            watcher = self._watch_for_successor(session)
            reason = await asyncio.shield(session.ended)
            self._reasons[remote] = reason
            log.warning("%s: lost %s: %s", self.database, remote, reason)
        finally:
            self._session = None
            if watcher is not None:
                watcher.cancel()
            for lock in self._locks.values():
                lock.disconnected()
            self._changed.fire()
            self._leave(session)

    def _watch_for_successor(self, session: Session) -> asyncio.Task[None] | None:
        others = [remote for remote in self._remotes if remote is not session.connection.remote]
        if not others or self._probe_interval_ms == 0:
            return None
        watching = watch_for_successor(session, others, self._tls, self._judge)
        return asyncio.get_running_loop().create_task(watching, name=f"ovsdb successor {self.database}")

    def _leave(self, session: Session) -> None:
        """Close a session's connections behind our back: they may wait for late answers, the next session does not."""
        session.end("the client closes")
        for connection in session.connections:
            task = asyncio.get_running_loop().create_task(connection.linger(LINGER_S), name="ovsdb linger")
            self._lingering.add(task)
            task.add_done_callback(self._lingering.discard)

    async def _race(self) -> Session:
        """Knock at all remotes, in random order, each a little after the one before; keep the first good session."""
        order = random.sample(self._remotes, len(self._remotes))
        loop = asyncio.get_running_loop()
        racers = [loop.create_task(self._knock(remote, place * STAGGER_S)) for place, remote in enumerate(order)]
        winner: Session | None = None
        try:
            done, _ = await asyncio.wait(racers, return_when=asyncio.FIRST_COMPLETED)
            winner = next(iter(done)).result()
        finally:
            await _retire(racers, winner)
        return winner

    async def _knock(self, remote: Remote, after_s: float) -> Session:
        """Try one remote until it is good: one that hangs must not keep us from asking the others again."""
        await asyncio.sleep(after_s)
        failures = 0
        while True:
            try:
                return await self._open(remote)
            except TimeoutError:
                self._reasons[remote.text] = f"no answer within {HANDSHAKE_S:g} s"
            except OSError as error:
                self._reasons[remote.text] = describe(error)
            except OvsdbError as error:
                self._reasons[remote.text] = error.details
            failures += 1
            await asyncio.sleep(self._backoff.delay_ms(failures, random.random()) / 1000)

    async def _open(self, remote: Remote) -> Session:
        probe_interval_ms, timeout_s = self._probe_interval_ms, HANDSHAKE_S
        session = await Session.open(
            remote,
            self._tls,
            self.database,
            self._judge,
            probe_interval_ms=probe_interval_ms,
            timeout_s=timeout_s,
            with_bulk=self._bulk_operations is not None,
        )
        self._connections = {connection for connection in self._connections if not connection.released}
        self._connections.update(session.connections)
        return session


async def _encoded(txn: Transaction, schema: Schema) -> list[str]:
    """Encode a transaction in slices, so that one with many thousand operations does not hold the event loop."""
    texts: list[str] = []
    for number, part in enumerate(txn.parts(schema), start=1):
        texts += part
        if number % ENCODE_SLICE == 0:
            await asyncio.sleep(0)
    return texts


async def _retire(racers: Sequence[asyncio.Task[Session]], winner: Session | None) -> None:
    """Stop the racers and close every session but the winner."""
    for racer in racers:
        racer.cancel()
    for late in await asyncio.gather(*racers, return_exceptions=True):
        if isinstance(late, Session) and late is not winner:
            for connection in late.connections:
                await connection.close("another server was faster")


def _report_crash(supervisor: asyncio.Task[None]) -> None:
    if not supervisor.cancelled() and supervisor.exception() is not None:
        log.critical("%s: the supervisor crashed", supervisor.get_name(), exc_info=supervisor.exception())
