"""Which API sockets a command asks, in which order. This module must never open a connection.

The order: `--server`, `--lab`, this host's own API, the only lab that is up (said on stderr, so that nobody changes a
lab believing it to be something else).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ovenbird.cli.output import say
from ovenbird.model.errors import Unavailable, UserError

if TYPE_CHECKING:
    from ovenbird.api.client import Client

LOCAL_SOCKET = Path("/run/ovenbird/api.sock")


@dataclass(frozen=True, slots=True)
class Servers:
    """What the global options said about whom to ask."""

    given: Sequence[str] = ()
    lab: str = ""

    def client(self) -> Client:
        """Return a client of the chosen servers; raises UserError or Unavailable when there are none."""
        from ovenbird.api.client import Client

        return Client(self.sockets())

    def sockets(self) -> tuple[Path, ...]:
        """Return the sockets to try, most wanted first."""
        given = [part for text in self.given for part in text.replace(",", " ").split()]
        if given:
            return tuple(socket_of(part) for part in given)
        if self.lab:
            return lab_sockets(self.lab)
        if LOCAL_SOCKET.exists():
            return (LOCAL_SOCKET,)
        return only_lab()


def socket_of(server: str) -> Path:
    """Return the path of `unix:/path` (or of a plain absolute path)."""
    path = server.removeprefix("unix:")
    if not path.startswith("/"):
        raise UserError(
            f'server "{server}" is not of the form unix:/path', hint="e.g. --server unix:/run/ovenbird/api.sock"
        )
    return Path(path)


def lab_sockets(name: str) -> tuple[Path, ...]:
    """Return the API sockets of a lab's central nodes."""
    from ovenbird.lab import central_sockets

    sockets = tuple(central_sockets(name))
    if not sockets:
        raise Unavailable(
            f'no central node of lab "{name}" is on',
            code="no_server",
            hint=f"`ovenbird lab ps --name {name}` shows its nodes",
        )
    return sockets


def only_lab() -> tuple[Path, ...]:
    """Return the sockets of the only lab that is up."""
    from ovenbird.lab import labs_up

    names = labs_up()
    if len(names) == 1:
        say(f'asking lab "{names[0]}" (no API on this host)')
        return lab_sockets(names[0])
    if names:
        raise Unavailable(
            f"{len(names)} labs are up and none was chosen",
            code="which_lab",
            evidence=", ".join(names),
            hint="choose one with --lab NAME or OVENBIRD_LAB",
        )
    raise Unavailable(
        f"no server to ask: {LOCAL_SOCKET} does not exist and no lab is up",
        code="no_server",
        hint="run this on a central host, give --server unix:/path, or start a lab with `ovenbird lab up`",
    )
