"""A lab: a whole cluster on one machine, a set of namespaces per host, running the production agent."""

from __future__ import annotations

from pathlib import Path

from ovenbird.lab.lab import Lab
from ovenbird.lab.state import StateFile, names


def labs_up() -> list[str]:
    """Return the names of the labs of which a node is on."""
    found = []
    for name in names():
        state = StateFile(name).read()
        if state is not None and any(init.is_alive for init in state.inits.values()):
            found.append(name)
    return found


def central_sockets(name: str) -> list[Path]:
    """Return where the API sockets of a lab's central nodes are reached; raises `UserError` if there is no such lab."""
    return Lab.open(name).central_sockets()
