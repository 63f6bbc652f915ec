"""`ovs-appctl` without the process: one command over a daemon's control socket (JSON-RPC 1.0; ovs-appctl(8))."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ovenbird.ovsdb.errors import DeadlineExceeded, ProtocolError, UnixctlError
from ovenbird.ovsdb.framing import JsonStream
from ovenbird.ovsdb.remotes import READ_BYTES, describe


async def unixctl(path: str | Path, command: str, *args: str, timeout_s: float) -> str:
    """Run a command; return its text.

    Raises UnixctlError (no daemon there, or it refused; the message says which), DeadlineExceeded.
    """
    try:
        async with asyncio.timeout(timeout_s):
            reply = await _ask(str(path), {"id": 0, "method": command, "params": list(args)})
    except TimeoutError as error:
        raise DeadlineExceeded(f"{path}: {command}: no answer within {timeout_s:g} s") from error
    except OSError as error:
        raise UnixctlError(f"{path}: {command}: {describe(error)}") from error
    if reply.get("error") is not None:
        raise UnixctlError(f"{path}: {command}: {str(reply['error']).strip()}")
    return str(reply.get("result", ""))


async def _ask(path: str, request: dict[str, Any]) -> dict[str, Any]:
    reader, writer = await asyncio.open_unix_connection(path, limit=READ_BYTES)
    try:
        writer.write(json.dumps(request).encode())
        stream = JsonStream()
        while True:
            data = await reader.read(READ_BYTES)
            if not data:
                raise ProtocolError(f"{path}: {request['method']}: closed without an answer")
            for message in stream.feed(data):
                return message
    finally:
        writer.transport.abort()


@dataclass(frozen=True, slots=True)
class AppCtl:
    """A daemon's control socket, with a deadline for all its commands."""

    path: str | Path
    timeout_s: float = 5.0

    async def run(self, command: str, *args: str) -> str:
        """Run a command; errors as of `unixctl`."""
        return await unixctl(self.path, command, *args, timeout_s=self.timeout_s)
