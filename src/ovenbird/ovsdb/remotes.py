"""Where a server is and how to reach it: `tcp:`, `ssl:` and `unix:` remotes as ovsdb(7) writes them.

Every connection gets a TLS context of its own, so rotated certificate files are used from the next connection on and
two clients in one process may have different identities. Nothing here knows what is said over a connection.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

from ovenbird.ovsdb.errors import OvsdbError

READ_BYTES = 128 * 1024
"""Most that is read, and therefore decoded, in one go: about 5 ms of work, in which nobody else has a turn."""


class RemoteError(OvsdbError):
    """The remote's text form is not understood."""


@dataclass(frozen=True, slots=True)
class Tls:
    """Identity and trust for `ssl:` remotes. The files are read again for each connection."""

    private_key: Path
    certificate: Path
    ca_certificate: Path
    check_hostname: bool = False
    """Whether the server's certificate must also name the host or address that we connect to (SAN). Off by default as
    with OVS's own tools: certificates made by ovs-pki carry no host name. The chain is always verified."""

    def context(self) -> ssl.SSLContext:
        """Read the files. Raises OSError or ssl.SSLError when one is missing or bad."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.check_hostname = self.check_hostname
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(self.certificate, self.private_key)
        context.load_verify_locations(self.ca_certificate)
        return context


@dataclass(frozen=True, slots=True)
class Remote:
    """One parsed remote."""

    text: str
    kind: str
    """tcp, ssl or unix."""
    host: str = ""
    port: int = 0
    path: str = ""


def parse_remote(text: str) -> Remote:
    """Parse `tcp:HOST:PORT`, `ssl:HOST:PORT` (IPv6 in brackets) or `unix:PATH`. Raises RemoteError."""
    kind, _, rest = text.partition(":")
    if kind == "unix" and rest:
        return Remote(text, kind, path=rest)
    host, _, port = rest.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if kind not in {"tcp", "ssl"} or not host or not port.isdecimal() or (":" in host and not bracketed):
        raise RemoteError(f"cannot read remote {text!r}: want tcp:HOST:PORT, ssl:HOST:PORT or unix:PATH")
    return Remote(text, kind, host=host[1:-1] if bracketed else host, port=int(port))


def describe(error: OSError) -> str:
    """Return a connection error in an operator's words: "connection refused", without Python's decoration."""
    if isinstance(error, ssl.SSLError):  # its errno is OpenSSL's, not the system's
        return f"TLS: {getattr(error, 'reason', None) or error}"
    if isinstance(error, socket.gaierror):
        return f"cannot resolve the host name: {error.strerror}"
    text = os.strerror(error.errno).lower() if error.errno else str(error)
    return f"{text}: {error.filename}" if error.filename else text


async def open_streams(remote: Remote, tls: Tls | None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect. Raises OSError (ssl.SSLError is one) or RemoteError; the caller sets the deadline."""
    if remote.kind == "unix":
        return await asyncio.open_unix_connection(remote.path, limit=READ_BYTES)
    if remote.kind == "tcp":
        return await asyncio.open_connection(remote.host, remote.port, limit=READ_BYTES)
    if tls is None:
        raise RemoteError(f"{remote.text} needs a private key, a certificate and a CA certificate")
    return await asyncio.open_connection(
        remote.host, remote.port, limit=READ_BYTES, ssl=tls.context(), server_hostname=remote.host
    )
