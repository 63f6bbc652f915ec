"""One JSON-RPC connection to one server, from connect to close (RFC 7047 section 4; JSON-RPC 1.0).

Messages are handled strictly in the order in which the server sent them, because OVSDB promises that the update
caused by a transaction arrives before the transaction's reply. A handler may pause, but bytes are decoded in slices
with the event loop running in between, and our own probes go out meanwhile, so neither side takes the other for dead.
A connection is never repaired: it is closed, and the client opens another.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from ovenbird.ovsdb.errors import ConnectionLost, DeadlineExceeded, NotConnected, OvsdbError, transaction_error
from ovenbird.ovsdb.framing import Converter, JsonStream
from ovenbird.ovsdb.remotes import READ_BYTES, Remote, Tls, describe, open_streams

Notify = Callable[[str, list[Any]], Awaitable[None]]
OnReply = Callable[[Any], Awaitable[None]]
ConverterForTable = Callable[[str], Converter | None]


@dataclass(frozen=True, slots=True)
class RawJson:
    """Parameters that the caller has encoded already (a large transaction is encoded in slices)."""

    text: str


class CallError(OvsdbError):
    """The server answered a request with a JSON-RPC error."""

    def __init__(self, method: str, error: Any) -> None:
        parts = error if isinstance(error, dict) else {"error": error}
        self.error = error
        self.tag = str(parts.get("error", "unknown error"))
        super().__init__(f"{method}: {self.tag}: {parts.get('details', '')}".rstrip(": "))


@dataclass(slots=True)
class _Pending:
    """A request that waits for its reply."""

    method: str
    future: asyncio.Future[Any]
    on_reply: OnReply | None = None
    converter_for: ConverterForTable | None = None


@dataclass(slots=True)
class _Subscription:
    """Who hears about one monitor or lock."""

    notify: Notify
    converter_for: ConverterForTable | None = None


@dataclass(slots=True)
class _Activity:
    """When the peer was last heard, and whether we are waiting for it (or it for us, while we decode)."""

    heard_s: float = field(default_factory=time.monotonic)
    reading: bool = False


class Connection:
    """A live connection. Make one with `Connection.open`; `closed` says when and why it ended."""

    def __init__(
        self, remote: Remote, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, probe_interval_ms: int
    ) -> None:
        self.remote = remote
        self._reader, self._writer = reader, writer
        self._probe_interval_s = probe_interval_ms / 1000
        self._activity = _Activity()
        self._pending: dict[int, _Pending] = {}
        self._subscriptions: dict[str, _Subscription] = {}
        self._last_id = 0
        self._hold_until_s = 0.0
        self._hold_changed = asyncio.Event()
        self.released = False
        """Whether `close` is done."""
        loop = asyncio.get_running_loop()
        self.closed: asyncio.Future[str] = loop.create_future()
        self._tasks = [loop.create_task(self._read_all(), name=f"ovsdb read {remote.text}")]
        if probe_interval_ms > 0:
            self._tasks.append(loop.create_task(self._probe(), name=f"ovsdb probe {remote.text}"))

    @classmethod
    async def open(cls, remote: Remote, tls: Tls | None, *, probe_interval_ms: int, timeout_s: float) -> Connection:
        """Connect within the deadline. Raises OSError, RemoteError or DeadlineExceeded."""
        try:
            async with asyncio.timeout(timeout_s):
                reader, writer = await open_streams(remote, tls)
        except TimeoutError as error:
            raise DeadlineExceeded(f"no connection within {timeout_s:g} s") from error
        return cls(remote, reader, writer, probe_interval_ms)

    async def close(self, reason: str = "closed by us") -> None:
        """End the connection: every pending call gets ConnectionLost; all tasks and the socket are gone on return."""
        self.drop(reason)
        current = asyncio.current_task()
        await asyncio.gather(*(task for task in self._tasks if task is not current), return_exceptions=True)
        with contextlib.suppress(OSError, asyncio.TimeoutError):
            async with asyncio.timeout(1.0):
                await self._writer.wait_closed()
        self.released = True

    async def linger(self, timeout_s: float) -> None:
        """Close once every request under way has its answer, or when the time is up."""
        try:
            under_way = [pending.future for pending in self._pending.values() if not pending.future.done()]
            if under_way:
                await asyncio.wait(under_way, timeout=timeout_s)
        finally:
            await self.close()

    def abort(self, reason: str) -> None:
        """Declare the connection over, at once; whoever owns it still has to `close` it."""
        self._end(reason)
        self._writer.transport.abort()

    def drop(self, reason: str) -> None:
        """Begin to close, at once: what is left to `close` is the waiting, and nothing leaks if that is cut short."""
        self.abort(reason)
        current = asyncio.current_task()
        for task in self._tasks:
            if task is not current:
                task.cancel()

    @property
    def silent_s(self) -> float:
        """How long nothing has come from the peer that we had not read before."""
        return time.monotonic() - self._activity.heard_s

    def subscribe(self, key: Any, notify: Notify, converter_for: ConverterForTable | None = None) -> None:
        """Have notifications whose first parameter is `key` (a monitor's id or a lock's name) handled by `notify`."""
        self._subscriptions[json.dumps(key)] = _Subscription(notify, converter_for)

    def hold(self, for_s: float) -> None:
        """Leave what the peer sends from now on unread for at most so long (0: read on now); it must be short."""
        self._hold_until_s = time.monotonic() + for_s if for_s > 0 else 0.0
        self._hold_changed.set()

    def unsubscribe(self, key: Any) -> None:
        """Undo `subscribe`."""
        self._subscriptions.pop(json.dumps(key), None)

    async def call(
        self,
        method: str,
        params: list[Any] | RawJson,
        *,
        timeout_s: float,
        on_reply: OnReply | None = None,
        converter_for: ConverterForTable | None = None,
        on_sent: Callable[[], None] | None = None,
    ) -> Any:
        """Send a request and return the reply's result. `on_sent` is called when it was handed to the kernel.

        `on_reply` runs before any later message of the server is looked at, and then the call returns None. Raises
        NotConnected (nothing was sent), CallError, ConnectionLost, DeadlineExceeded. A `transact` that is given up is
        canceled at the server, which stops one that still waits and is too late for one that was executed.
        """
        if self.closed.done():
            raise NotConnected(f"{self.remote.text}: {self.closed.result()}")
        self._last_id += 1
        request, future = self._last_id, asyncio.get_running_loop().create_future()
        self._pending[request] = _Pending(method, future, on_reply, converter_for)
        try:
            async with asyncio.timeout(timeout_s):
                self._request(request, method, params)
                await self._writer.drain()
                if on_sent is not None:
                    on_sent()
                return await future
        except TimeoutError as error:
            self._give_up(request, method)
            raise DeadlineExceeded(f"{method} to {self.remote.text}: no reply within {timeout_s:g} s") from error
        except asyncio.CancelledError:
            self._give_up(request, method)
            raise
        except OSError as error:
            self._end(f"cannot write: {error}")
            raise ConnectionLost(f"{method} to {self.remote.text}: {describe(error)}") from error
        finally:
            self._pending.pop(request, None)
            if future.done() and not future.cancelled():
                future.exception()

    def _give_up(self, request: int, method: str) -> None:
        if method == "transact" and request in self._pending and not self.closed.done():
            self._send({"id": None, "method": "cancel", "params": [request]})

    def _request(self, request: int, method: str, params: list[Any] | RawJson) -> None:
        if isinstance(params, RawJson):
            head = json.dumps({"id": request, "method": method})[:-1]
            self._writer.write(f'{head},"params":{params.text}}}'.encode())
        else:
            self._send({"id": request, "method": method, "params": params})

    def _send(self, message: dict[str, Any]) -> None:
        self._writer.write(json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode())

    def _end(self, reason: str) -> None:
        if self.closed.done():
            return
        self.closed.set_result(reason)
        for pending in self._pending.values():
            if not pending.future.done():
                pending.future.set_exception(ConnectionLost(f"{pending.method} to {self.remote.text}: {reason}"))

    async def _read_all(self) -> None:
        stream = JsonStream(self._converter_for)
        try:
            while not self.closed.done():
                self._activity.reading = True
                data = await self._reader.read(READ_BYTES)
                self._activity.reading, self._activity.heard_s = False, time.monotonic()
                await self._while_held()
                if not data:
                    self._end("closed by the server")
                    break
                for message in stream.feed(data):
                    await self._handle(message)
                await asyncio.sleep(0)
        except (OvsdbError, KeyError, IndexError, TypeError, ValueError) as error:
            self._end(f"unusable message: {error!r}")
        except OSError as error:
            self._end(describe(error))
        finally:
            self._end("reader stopped")
            self._writer.transport.abort()

    async def _while_held(self) -> None:
        while (left_s := self._hold_until_s - time.monotonic()) > 0:
            self._hold_changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await self._hold_changed.wait()

    def _converter_for(self, message: dict[str, Any], table: str) -> Converter | None:
        if message.get("method") in {"update2", "update3"}:
            params = message.get("params")
            subscription = self._subscriptions.get(json.dumps(params[0])) if params else None
            chooser = subscription.converter_for if subscription else None
        else:
            request = message.get("id")
            pending = self._pending.get(request) if isinstance(request, int) else None
            chooser = pending.converter_for if pending else None
        return chooser(table) if chooser else None

    async def _handle(self, message: dict[str, Any]) -> None:
        if "method" not in message:
            await self._handle_reply(message)
        elif message["method"] == "echo":
            if message.get("id") is not None:
                self._send({"id": message["id"], "result": message["params"], "error": None})
        elif message.get("id") is not None:
            self._send({"id": message["id"], "result": None, "error": "unknown method"})
        else:
            subscription = self._subscriptions.get(json.dumps(message["params"][0]))
            if subscription is not None:
                await subscription.notify(message["method"], message["params"])

    async def _handle_reply(self, message: dict[str, Any]) -> None:
        pending = self._pending.get(message.get("id"))  # type: ignore[arg-type]
        if pending is None or pending.future.done():
            return
        error = message.get("error")
        if error is not None:
            failure = transaction_error(error) if pending.method == "transact" else CallError(pending.method, error)
            pending.future.set_exception(failure)
        elif pending.on_reply is not None:
            await pending.on_reply(message["result"])
            if not pending.future.done():
                pending.future.set_result(None)
        else:
            pending.future.set_result(message["result"])

    async def _probe(self) -> None:
        """Send an echo each interval; give the peer up when nothing at all came for two intervals while we listened.

        Our echo also tells the server that we are alive while we are busy with a long dump of its.
        """
        half_s, echo_next = self._probe_interval_s / 2, False
        while not self.closed.done():
            asked_s = time.monotonic()
            await asyncio.sleep(half_s)
            now_s = time.monotonic()
            we_paused = now_s - asked_s > 2 * half_s + 0.1  # our own stop is no evidence against the server
            silent_s = now_s - self._activity.heard_s
            if self._activity.reading and silent_s > 2 * self._probe_interval_s and not we_paused:
                self.abort(f"no answer to probes for {silent_s:.1f} s")
                return
            echo_next = not echo_next
            if echo_next:
                self._last_id += 1
                self._send({"id": self._last_id, "method": "echo", "params": []})
