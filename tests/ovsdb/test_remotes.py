from __future__ import annotations

import socket
import ssl

import pytest
from tests.ovsdb.servers import OvsdbServer

from ovenbird.ovsdb import Client, Remote, RemoteError, parse_remote
from ovenbird.ovsdb.remotes import describe


@pytest.mark.parametrize(
    ("text", "remote"),
    [
        ("tcp:192.0.2.1:6641", Remote("tcp:192.0.2.1:6641", "tcp", "192.0.2.1", 6641)),
        ("ssl:db.example:6641", Remote("ssl:db.example:6641", "ssl", "db.example", 6641)),
        ("tcp:[::1]:6641", Remote("tcp:[::1]:6641", "tcp", "::1", 6641)),
        ("unix:/run/ovn/db.sock", Remote("unix:/run/ovn/db.sock", "unix", path="/run/ovn/db.sock")),
    ],
)
def test_remotes_are_read_as_ovs_writes_them(text, remote):
    assert parse_remote(text) == remote


@pytest.mark.parametrize("text", ["", "tcp:", "tcp:1.2.3.4", "tcp:1.2.3.4:x", "tcp:::1:6641", "udp:1.2.3.4:1", "unix:"])
def test_what_is_no_remote_is_refused_at_once(text):
    with pytest.raises(RemoteError, match="cannot read remote"):
        Client("OVN_Northbound", [text])


async def test_ipv6():
    async with OvsdbServer(host="[::1]") as server, Client(server.database, [server.remote]) as client:
        await client.wait_connected(timeout_s=5)
        assert client.remote == f"tcp:[::1]:{server.port}"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionRefusedError(111, "Connect call failed ('127.0.0.1', 1)"), "connection refused"),
        (FileNotFoundError(2, "No such file or directory", "/x"), "no such file or directory: /x"),
        (ssl.SSLError(1, "[SSL: WRONG] wrong"), "TLS: "),
        (socket.gaierror(-2, "Name or service not known"), "cannot resolve the host name: Name or service not known"),
        (OSError("Multiple exceptions: a, b"), "Multiple exceptions: a, b"),
    ],
)
def test_connection_errors_are_told_in_an_operators_words(error, words):
    assert describe(error).startswith(words)
