"""A small HTTP client for the API over unix sockets, from the standard library alone.

Servers are tried in turn: the next one when nobody listens, when a server says that it cannot reach the databases, and
for reading also when it does not answer in time. A change that was sent and not answered is never sent again: whether
it happened is not known, and the caller is told so. This module must never print.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from ovenbird.model.errors import Bug, OvenbirdError, Timeout, Unavailable, from_json

CONNECT_TIMEOUT_S = 2.0
SUN_PATH_MAX = 107
"""Longest path that fits into sockaddr_un (108 bytes with the final zero; unix(7))."""


class _NotSentError(Exception):
    """Nobody took the request: another server may be asked."""


class _NoAnswerError(Exception):
    """The request was taken, the answer never came."""


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self.path = path
        self.answer_timeout_s = timeout_s

    def connect(self) -> None:
        """Connect, by way of the directory's descriptor when the path is too long for the kernel."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(min(CONNECT_TIMEOUT_S, self.answer_timeout_s))
        if len(os.fsencode(self.path)) <= SUN_PATH_MAX:
            self.sock.connect(str(self.path))
        else:
            directory = os.open(self.path.parent, os.O_PATH | os.O_DIRECTORY)
            try:
                self.sock.connect(f"/proc/self/fd/{directory}/{self.path.name}")
            finally:
                os.close(directory)
        self.sock.settimeout(self.answer_timeout_s)


class Client:
    """Asks the first server that can answer."""

    def __init__(self, sockets: Sequence[Path]) -> None:
        self.sockets = tuple(sockets)

    def get(self, path: str, *, query: Mapping[str, str] | None = None, timeout_s: float = 15.0) -> dict[str, Any]:
        """Read something; `query` values that are empty are left out."""
        wanted = urlencode({key: value for key, value in (query or {}).items() if value})
        return self.ask("GET", f"{path}?{wanted}" if wanted else path, None, timeout_s=timeout_s)

    def post(self, path: str, body: Any, *, timeout_s: float = 60.0) -> dict[str, Any]:
        """Change something, or wait for something."""
        return self.ask("POST", path, body, timeout_s=timeout_s)

    def delete(self, path: str, *, timeout_s: float = 60.0) -> dict[str, Any]:
        """Remove something."""
        return self.ask("DELETE", path, None, timeout_s=timeout_s)

    def ask(self, method: str, path: str, body: Any, *, timeout_s: float) -> dict[str, Any]:
        """Return the answer of the first server that gives one.

        Raises the server's own error (see `ovenbird.model.errors`); Unavailable when no server could be asked;
        Timeout when a change was sent and not answered within `timeout_s`.
        """
        return next(self.answers(method, path, body, timeout_s=timeout_s))

    def each(self, path: str, *, timeout_s: float) -> Iterator[dict[str, Any]]:
        """Read the same thing from one server after the other; raises Unavailable when none could be asked."""
        return self.answers("GET", path, None, timeout_s=timeout_s)

    def answers(self, method: str, path: str, body: Any, *, timeout_s: float) -> Iterator[dict[str, Any]]:
        """Yield the answers of the servers, each asked when its answer is wanted; errors as of `ask`."""
        failures: list[str] = []
        last: Unavailable | None = None
        for server in tuple(self.sockets):
            try:
                answer = self.ask_one(server, method, path, body, timeout_s=timeout_s)
            except _NotSentError as error:
                failures.append(f"{server}: {error}")
            except _NoAnswerError as error:
                if method != "GET":
                    raise _unknown_outcome(server, error) from None
                failures.append(f"{server}: {error}")
            except Unavailable as error:
                failures.append(f"{server}: {error.message}")
                last = error
            else:
                # Who answered is asked first from now on: the others may be slow to say that they cannot.
                self.sockets = (server, *(other for other in self.sockets if other != server))
                yield answer
        if len(failures) == len(self.sockets):
            raise _unavailable(failures, last)

    def ask_one(self, server: Path, method: str, path: str, body: Any, *, timeout_s: float) -> dict[str, Any]:
        """Ask one server."""
        connection = _UnixConnection(server, timeout_s)
        try:
            try:
                connection.connect()
            except OSError as error:
                raise _NotSentError(error.strerror or str(error)) from None
            try:
                text = None if body is None else json.dumps(body).encode()
                headers = {"Content-Type": "application/json"} if text is not None else {}
                connection.request(method, path, body=text, headers=headers)
                response = connection.getresponse()
                payload = response.read()
            except TimeoutError:
                raise _NoAnswerError(f"no answer within {timeout_s:g} s") from None
            except (OSError, http.client.HTTPException) as error:
                raise _NoAnswerError(f"connection lost ({type(error).__name__}: {error})") from None
        finally:
            connection.close()
        return decoded(server, response.status, payload)


def _unknown_outcome(server: Path, error: Exception) -> Timeout:
    return Timeout(
        f"{server} took the request and did not answer: {error}",
        code="no_answer",
        hint="whether it was done is not known: look with `ovenbird plan`, then try again",
    )


def _unavailable(failures: Sequence[str], last: Unavailable | None) -> Unavailable:
    if last and len(failures) == 1:
        return last
    return Unavailable(
        "no server could answer",
        code=last.code if last else "no_server",
        evidence="; ".join(failures),
        hint=last.hint if last else "is the agent of a central host running?",
    )


def decoded(server: Path, status: int, payload: bytes) -> dict[str, Any]:
    """Return a JSON answer, or raise the error that it describes."""
    try:
        data = json.loads(payload)
    except ValueError:
        raise Bug(
            f"{server} answered HTTP {status} with something that is not JSON", evidence=repr(payload[:200])
        ) from None
    if isinstance(data, dict) and isinstance(data.get("error"), dict):
        raise from_json(data["error"])
    if status >= 400 or not isinstance(data, dict):
        raise OvenbirdError(f"{server} answered HTTP {status}", evidence=repr(payload[:200]))
    return data
