"""Named locks of a server (RFC 7047 section 4.1.8): a hint about who should act, never a proof.

Locks are local to one ovsdb-server process and vanish with the connection, so two holders on two members are possible.
Fence with data (`Transaction.wait_exists`) whatever a lock guards.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from ovenbird.ovsdb.errors import DeadlineExceeded, OvsdbError
from ovenbird.ovsdb.signal import Signal

if TYPE_CHECKING:
    from ovenbird.ovsdb.client import Client
    from ovenbird.ovsdb.session import Session

log = logging.getLogger(__name__)
_CALL_S = 10.0


class Lock:
    """A lock that is wanted or not, and held or not. Wanted locks are asked for again after each reconnect."""

    def __init__(self, name: str, client: Client) -> None:
        self.name = name
        self._client = client
        self._held = False
        self._wanted = False
        self._asked: Session | None = None
        """The session at which the lock was asked for: a second `lock` there is an error."""
        self._changed = Signal()
        self._task: asyncio.Task[None] | None = None
        self._serial = asyncio.Lock()

    @property
    def held(self) -> bool:
        """Whether the server last said that this connection owns the lock."""
        return self._held

    async def changed(self) -> bool:
        """Wait until `held` changes; return the new value."""
        before = self._held
        while self._held == before:
            await self._changed.wait()
        return self._held

    async def request(self) -> bool:
        """Queue for the lock without waiting for it; return whether it is held already."""
        self._wanted = True
        if self._client.session is not None:
            try:
                await self._ask(self._client.session, "lock")
            except asyncio.CancelledError:
                await self.release()
                raise
        return self._held

    async def acquire(self, *, timeout_s: float | None = None) -> None:
        """Queue for the lock and return when it is held.

        Raises DeadlineExceeded. When that or a cancellation ends the wait, the place in the queue is given up.
        """
        try:
            async with asyncio.timeout(timeout_s):
                await self.request()
                while not self._held:
                    await self._changed.wait()
        except TimeoutError as error:
            await self.release()
            raise DeadlineExceeded(f"lock {self.name} not held within {timeout_s:g} s") from error
        except asyncio.CancelledError:
            await self.release()
            raise

    async def steal(self) -> None:
        """Take the lock at once, whoever holds it; that one is told. Raises NotConnected when there is no server."""
        self._wanted = True
        session = self._client.session
        if session is None:
            await self._client.echo(timeout_s=_CALL_S)  # raises NotConnected with the reasons
            return
        if self._asked is session:
            await self._drop(session)
        await self._ask(session, "steal")

    async def release(self) -> None:
        """Give the lock, or the place in the queue, up. Never fails: without a connection it is gone already."""
        self._wanted = False
        session = self._client.session
        if session is not None and self._asked is session:
            try:
                await self._drop(session)
            except OvsdbError as error:
                log.info("unlock %s: %s", self.name, error)
        self._set_held(False)

    # --- called by the client ---

    def reconnected(self, session: Session) -> None:
        """Ask again on the new session, if the lock is wanted."""
        if self._wanted:
            self._task = asyncio.get_running_loop().create_task(self._ask_quietly(session), name=f"lock {self.name}")

    def disconnected(self) -> None:
        """Forget what the server said: a lock does not outlive its connection."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._asked = None
        self._set_held(False)

    # --- the conversation ---

    async def _ask_quietly(self, session: Session) -> None:
        try:
            await self._ask(session, "lock")
        except OvsdbError as error:
            log.info("lock %s: %s", self.name, error)
            session.end(f"cannot ask for lock {self.name}: {error}")

    async def _ask(self, session: Session, method: str) -> None:
        async with self._serial:
            if self._asked is session or session is not self._client.session:
                return
            self._asked = session
            session.connection.subscribe(self.name, self._on_notice)
            try:
                await session.connection.call(method, [self.name], timeout_s=_CALL_S, on_reply=self._on_reply)
            except DeadlineExceeded:
                session.end(f"lock {self.name}: whether we queue for it is unknown")
                raise

    async def _drop(self, session: Session) -> None:
        async with self._serial:
            if self._asked is not session:
                return
            self._asked = None
            session.connection.unsubscribe(self.name)
            await session.connection.call("unlock", [self.name], timeout_s=_CALL_S)
            self._set_held(False)

    async def _on_reply(self, result: Any) -> None:
        self._set_held(bool(result["locked"]))

    async def _on_notice(self, method: str, _params: list[Any]) -> None:
        self._set_held(method == "locked")

    def _set_held(self, held: bool) -> None:
        if held != self._held:
            self._held = held
            self._changed.fire()
