"""What a server says about itself in its `_Server` database (ovsdb-server(5)), and whether that is good enough for us.

Pure, but for `probe_server`, a one-shot read that chooses nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ovenbird.ovsdb.connection import Connection
from ovenbird.ovsdb.errors import NotConnected, NotLeader, StaleServer, WrongCluster
from ovenbird.ovsdb.remotes import Tls, describe, parse_remote

SERVER_COLUMNS = ("name", "model", "connected", "leader", "schema", "cid", "sid", "index")


@dataclass(frozen=True, slots=True)
class ServerDatabase:
    """One row of `_Server.Database`: one database as one server sees it."""

    name: str
    model: str
    """standalone, clustered or relay."""
    connected: bool
    """Whether the server is in contact with the majority of its cluster; always true for a standalone database."""
    leader: bool
    cid: str | None
    sid: str | None
    index: int | None
    """Index of the server's RAFT log; None unless clustered."""
    has_schema: bool
    """False while a member has not finished joining."""


ServerInfo = ServerDatabase


def read_row(wire: Mapping[str, Any], old: ServerDatabase | None = None) -> ServerDatabase:
    """Read a row, or the changed columns of one. An `initial` row leaves default values out."""
    start = old or ServerDatabase("", "standalone", False, False, None, None, None, False)
    new: dict[str, Any] = {}
    for column in ("name", "model", "connected", "leader"):
        if column in wire:
            new[column] = wire[column]
    for column in ("cid", "sid", "index"):
        if column in wire:
            new[column] = _optional(wire[column])
    if "schema" in wire:
        new["has_schema"] = _optional(wire["schema"]) is not None
    return replace(start, **new)


def _optional(wire: Any) -> Any:
    if isinstance(wire, list):
        if wire[0] == "set":
            return _optional(wire[1][0]) if wire[1] else None
        return wire[1]
    return wire


def judge(
    server: ServerDatabase, *, leader_only: bool, cluster_id: str | None, min_index: Mapping[str | None, int]
) -> None:
    """Return if this server may be used; else raise NotConnected, NotLeader, WrongCluster or StaleServer with why.

    `min_index`: by cluster id, the highest log index that this client has seen.
    """
    if cluster_id is not None and server.cid != cluster_id:
        raise WrongCluster(f"wrong cluster: it has {server.cid or 'none'}, expected {cluster_id}")
    if not server.has_schema:
        raise NotConnected("has no schema yet (still joining its cluster?)")
    if not server.connected:
        raise NotConnected("disconnected from its cluster's majority")
    if leader_only and not server.leader:
        raise NotLeader("a relay, not the leader" if server.model == "relay" else "not the leader")
    least = min_index.get(server.cid, 0)
    if server.index is not None and server.index < least:
        raise StaleServer(f"stale: its log ends at index {server.index}, this client has already seen {least}")


async def probe_server(remote: str, *, tls: Tls | None = None, timeout_s: float) -> tuple[ServerDatabase, ...]:
    """Ask one server for all its databases (without `_Server`), and disconnect.

    Raises NotConnected (with the reason), ConnectionLost (for instance while the server joins its cluster),
    DeadlineExceeded, ProtocolError.
    """
    try:
        connection = await Connection.open(parse_remote(remote), tls, probe_interval_ms=0, timeout_s=timeout_s)
    except OSError as error:
        raise NotConnected(f"{remote}: {describe(error)}") from error
    try:
        select = {"op": "select", "table": "Database", "where": [], "columns": list(SERVER_COLUMNS)}
        answer = await connection.call("transact", ["_Server", select], timeout_s=timeout_s)
        rows = [read_row(row) for row in answer[0]["rows"]]
    finally:
        await connection.close()
    return tuple(sorted((row for row in rows if row.name != "_Server"), key=lambda row: row.name))
