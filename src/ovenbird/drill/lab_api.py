"""The API of a lab whose nodes come and go: sockets are looked up at every call, since a power cycle moves them.

This module must never keep a socket's path.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ovenbird.api.client import Client
from ovenbird.lab.lab import Lab


class LabApi:
    """Asks the central nodes that are on, as `ovenbird.api.client.Client` does."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    def get(self, path: str, *, query: Mapping[str, str] | None = None, timeout_s: float = 15.0) -> dict[str, Any]:
        """Read something."""
        return self._client().get(path, query=query, timeout_s=timeout_s)

    def post(self, path: str, body: Any, *, timeout_s: float = 60.0) -> dict[str, Any]:
        """Change something, or wait for something."""
        return self._client().post(path, body, timeout_s=timeout_s)

    def delete(self, path: str, *, timeout_s: float = 60.0) -> dict[str, Any]:
        """Remove something."""
        return self._client().delete(path, timeout_s=timeout_s)

    def _client(self) -> Client:
        return Client(self.lab.central_sockets())
