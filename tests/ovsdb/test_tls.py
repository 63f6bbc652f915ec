from __future__ import annotations

from dataclasses import replace

import pytest
import trustme
from tests.ovsdb.servers import OvsdbServer

from ovenbird.ovsdb import Client, DeadlineExceeded, NotConnected, OvsdbError, Tls, Transaction, probe_server


def identity(directory, authority: trustme.CA, *names: str) -> Tls:
    directory.mkdir()
    certificate = authority.issue_cert(*names, common_name=names[0])
    certificate.private_key_pem.write_to_path(str(directory / "key.pem"))
    certificate.cert_chain_pems[0].write_to_path(str(directory / "cert.pem"))
    authority.cert_pem.write_to_path(str(directory / "ca.pem"))
    return Tls(directory / "key.pem", directory / "cert.pem", directory / "ca.pem")


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
async def tls_server(tmp_path, authority):
    async with OvsdbServer(tls=identity(tmp_path / "server", authority, "localhost", "127.0.0.1")) as server:
        yield server


async def why_not(server: OvsdbServer, tls: Tls | None, remote: str | None = None) -> str:
    async with Client(server.database, [remote or server.remote], tls=tls) as client:
        with pytest.raises(DeadlineExceeded) as caught:
            await client.wait_connected(timeout_s=0.5)
        return str(caught.value)


async def test_both_sides_prove_who_they_are(tls_server, tmp_path, authority):
    mine = identity(tmp_path / "client", authority, "client")
    for tls in (mine, replace(mine, check_hostname=True)):
        async with Client(tls_server.database, [tls_server.remote], tls=tls) as client:
            await client.wait_connected(timeout_s=5)
            txn = Transaction()
            txn.insert("Logical_Switch", {"name": "s"})
            await client.transact(txn)
    assert await probe_server(tls_server.remote, tls=mine, timeout_s=5)


async def test_strangers_are_refused_on_either_side(tls_server, tmp_path, authority):
    mine = identity(tmp_path / "client", authority, "client")
    stranger = identity(tmp_path / "stranger", trustme.CA(), "client")
    assert "TLS" in await why_not(tls_server, replace(mine, ca_certificate=stranger.ca_certificate))
    untrusted = replace(stranger, ca_certificate=mine.ca_certificate)
    assert "not tried yet" not in await why_not(tls_server, untrusted)
    with pytest.raises((NotConnected, OvsdbError)):
        await probe_server(tls_server.remote, tls=untrusted, timeout_s=2)


async def test_the_host_name_is_checked_when_asked_for(tmp_path, authority):
    mine = identity(tmp_path / "client", authority, "client")
    async with OvsdbServer(tls=identity(tmp_path / "server", authority, "elsewhere.example")) as server:
        assert "TLS" in await why_not(server, replace(mine, check_hostname=True))
        async with Client(server.database, [server.remote], tls=mine) as client:
            await client.wait_connected(timeout_s=5)


async def test_missing_files_are_named(tls_server, tmp_path, authority):
    mine = identity(tmp_path / "client", authority, "client")
    assert "private key" in await why_not(tls_server, None)
    reason = await why_not(tls_server, replace(mine, certificate=tmp_path / "gone.pem"))
    assert "no such file" in reason


async def test_rotated_files_are_used_from_the_next_connection_on(tls_server, tmp_path, authority):
    mine = identity(tmp_path / "client", authority, "client")
    async with Client(tls_server.database, [tls_server.remote], tls=mine) as client:
        await client.wait_connected(timeout_s=5)
        fresh = identity(tmp_path / "fresh", authority, "client")
        mine.private_key.write_bytes(fresh.private_key.read_bytes())
        mine.certificate.write_bytes(fresh.certificate.read_bytes())
        await tls_server.kill()
        await tls_server.start()
        await client.wait_connected(timeout_s=10)
        await client.echo(timeout_s=5)
