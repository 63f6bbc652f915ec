"""Looks at what there is before anything is made: this host's database file, and what the other central hosts serve."""

from __future__ import annotations

import errno
from pathlib import Path

from ovenbird.model.cluster import Database, Host, bracketed
from ovenbird.model.errors import OvenbirdError
from ovenbird.ovsdb import OvsdbError, probe_server
from ovenbird.plan.bootstrap import DatabaseFile, Peer, PeerAnswer
from ovenbird.process.command import CommandFailed, run

PEER_TIMEOUT_S = 1.0


async def read_file(path: Path) -> DatabaseFile | None:
    """Return what a database file says about itself; None without a file. Raises `OvenbirdError` on a broken one."""
    if not path.exists():
        return None
    name = (await run("ovsdb-tool", "db-name", str(path))).strip()
    try:
        remote = (await run("ovsdb-tool", "db-local-address", str(path))).strip()
    except CommandFailed as error:
        if error.status != 1:
            raise
        return DatabaseFile(path=str(path), name=name, clustered=False)
    return DatabaseFile(path=str(path), name=name, clustered=True, raft_remote=remote)


async def ask_peer(host: Host, database: Database, raft_remote: str) -> Peer:
    """Ask another central host which cluster its member belongs to."""
    answer, cid, detail = PeerAnswer.UNKNOWN, "", "no answer"
    try:
        rows = await probe_server(f"tcp:{bracketed(host.address)}:{database.client_port}", timeout_s=PEER_TIMEOUT_S)
        row = next((row for row in rows if row.name == database.value), None)
        if row is not None and row.cid:
            answer, cid, detail = PeerAnswer.CLUSTER, row.cid, ""
        else:
            detail = "its server does not know its cluster yet"
    except (OvsdbError, OvenbirdError, OSError) as error:
        if _is_refused(error):
            answer = PeerAnswer.NO_SERVER
        detail = str(error) or type(error).__name__
    return Peer(name=host.name, raft_remote=raft_remote, answer=answer, cid=cid, detail=detail)


def _is_refused(error: BaseException | None) -> bool:
    """Whether the host itself answered that nobody listens (a TCP reset), however the client wrapped that."""
    while error is not None:
        if isinstance(error, OSError) and error.errno == errno.ECONNREFUSED:
            return True
        error = error.__cause__
    return False
