"""Serves the HTTP API on a unix socket until cancelled.

Who may open the socket may change the network: mode 0660, owned by root. uvicorn takes no signals here: the agent has
them. Starlette and uvicorn (0.3 s of imports) are loaded in a thread, so that nothing else of the agent waits for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import importlib
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ovenbird.model.errors import Refused
from ovenbird.model.layout import Layout

if TYPE_CHECKING:
    from ovenbird.controller.service import ControllerService

SOCKET_MODE = 0o660
BACKLOG = 128
SHUTDOWN_S = 3


async def serve(service: ControllerService, *, socket_path: Path, layout: Layout | None = None) -> None:
    """Serve until cancelled; the socket file is removed at the end.

    A socket file that nobody listens on is replaced. Raises Refused when somebody listens on it. `layout` says where
    this host's control sockets are.
    """
    app_module = await asyncio.to_thread(importlib.import_module, "ovenbird.api.app")
    uvicorn = await asyncio.to_thread(importlib.import_module, "uvicorn")
    status_module = sys.modules["ovenbird.api.status"]
    reporter = status_module.StatusReporter(service, layout or Layout())
    config = uvicorn.Config(
        app_module.make_app(service, reporter),
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=SHUTDOWN_S,
    )
    server = uvicorn.Server(config)
    server.capture_signals = _no_signals
    listener = listen(socket_path)
    try:
        await _run(server, listener)
    finally:
        listener.close()
        remove(socket_path)


async def _run(server: Any, listener: socket.socket) -> None:
    """Run uvicorn; on cancellation let it finish what it is answering, for a bounded time."""
    running = asyncio.create_task(server.serve(sockets=[listener]), name="api-server")
    try:
        await asyncio.shield(running)
    finally:
        server.should_exit = True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(running, SHUTDOWN_S + 2)


@contextlib.contextmanager
def _no_signals() -> Iterator[None]:
    yield


def listen(path: Path) -> socket.socket:
    """Return a listening unix socket at a path, with the right mode from its first moment on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if _is_served(path):
        raise Refused(f"another process serves {path}", code="socket_in_use", hint="is another agent running?")
    # Bound under another name first: there is no moment without a socket, nor one with a wrong mode.
    early = path.with_name(f".{path.name}.{os.getpid()}")
    early.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(early))
        early.chmod(SOCKET_MODE)
        listener.listen(BACKLOG)
        early.rename(path)
    except OSError:
        listener.close()
        early.unlink(missing_ok=True)
        raise
    return listener


def remove(path: Path) -> None:
    """Remove our socket file."""
    path.unlink(missing_ok=True)


def _is_served(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except OSError as error:
            return error.errno not in (errno.ECONNREFUSED, errno.ENOENT)
        return True
