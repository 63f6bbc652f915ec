"""Waits until a lab is really ready: until the cluster's own status says healthy (members, northd, chassis, BFD).

The lab has no opinion of its own about health; it asks the API as an operator would. This module must never turn
"could not ask" into "ready".
"""

from __future__ import annotations

import http.client
import json
import socket
import time
from pathlib import Path
from typing import Any

from ovenbird.lab.lab import Lab, Progress
from ovenbird.model.errors import Down, Problem, Timeout

POLL_S = 0.2
ASK_TIMEOUT_S = 5.0


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket's path."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def ask_status(path: Path, *, timeout_s: float = ASK_TIMEOUT_S) -> dict[str, Any] | None:
    """Return what `GET /v1/status` answers on an API socket; None if it could not be asked or gave an error."""
    connection = _UnixConnection(path, timeout_s)
    try:
        connection.request("GET", "/v1/status")
        data = json.loads(connection.getresponse().read())
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
    return data if isinstance(data, dict) and "verdict" in data else None


def wait_ready(lab: Lab, *, timeout_s: float, progress: Progress) -> dict[str, Any]:
    """Wait until a central node says that the cluster is healthy, and return that status.

    Raises `Down` at once when an agent has ended (nothing would start it again), `Timeout` with what is not ready.
    """
    deadline = time.monotonic() + timeout_s
    told: list[str] = []
    status: dict[str, Any] | None = None
    while True:
        _check_agents(lab)
        for path in lab.central_sockets():
            status = ask_status(path) or status
            if status is not None:
                break
        if status is not None and status["verdict"] == "healthy":
            return status
        waiting = _reasons(status)
        if waiting != told:
            _tell(waiting, progress)
            told = waiting
        if time.monotonic() > deadline:
            raise _not_ready(lab, timeout_s, waiting)
        time.sleep(POLL_S)


def _reasons(status: dict[str, Any] | None) -> list[str]:
    if status is None:
        return ["no central node answers on its API yet"]
    reasons = [str(reason.get("message", reason)) for reason in status.get("reasons", ())]
    return reasons or [f"status says {status['verdict']}"]


def _tell(waiting: list[str], progress: Progress) -> None:
    more = f" (and {len(waiting) - 1} more)" if len(waiting) > 1 else ""
    progress(f"waiting: {waiting[0]}{more}")


def _check_agents(lab: Lab) -> None:
    for node in lab.nodes.values():
        if node.is_up and "agent" not in node.pids():
            log = node.disk("/var/log/ovenbird/agent.log")
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
            raise Down(
                f"the agent of {node.name} has ended",
                code="agent_ended",
                subject=node.name,
                evidence="\n".join(lines[-8:]) or "its log is empty",
                hint=f"see {log}; `ovenbird lab up --name {lab.name}` starts it again",
            )


def _not_ready(lab: Lab, timeout_s: float, waiting: list[str]) -> Timeout:
    first = next(iter(lab.spec.cluster().centrals)).name
    off = [node.name for node in lab.nodes.values() if not node.is_up]
    return Timeout(
        f"lab {lab.name} is not ready after {timeout_s:g} s",
        code="lab_not_ready",
        subject=lab.name,
        evidence=f"nodes that are off: {', '.join(off)}" if off else "",
        problems=[Problem(message=reason) for reason in waiting],
        hint=f"see `ovenbird lab logs {first} agent`; the lab is left as it is",
    )
