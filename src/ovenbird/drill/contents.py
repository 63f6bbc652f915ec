"""What each member of a RAFT database holds, asked through its own unix socket, so that members can be compared.

Columns that a server writes for itself alone (`ephemeral`, RFC 7047 section 3.2) and `_version` are left out: all else
is RAFT's and must be equal once no write is under way. This module must never write.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ovenbird.lab.node import Node
from ovenbird.model.cluster import Database
from ovenbird.model.errors import OvenbirdError
from ovenbird.model.layout import Layout
from ovenbird.model.raft_status import parse_raft_status
from ovenbird.ovsdb import OvsdbError, parse_remote, unixctl
from ovenbird.ovsdb.connection import Connection

ASK_S = 10.0
AGAIN_S = 0.2

Tables = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""table -> row UUID -> columns in wire form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberContent:
    """One member's content and membership; with `error` the rest is empty."""

    node: str
    error: str = ""
    digest: str = ""
    servers: tuple[str, ...] = ()
    """"NICKNAME ADDRESS" of every member that it knows, sorted."""
    cid: str = ""
    tables: Tables = field(default_factory=dict)

    def told(self) -> dict[str, Any]:
        """Return it as a run's record keeps it."""
        return {"digest": self.digest, "servers": list(self.servers), "cid": self.cid, "error": self.error}


async def settled(database: Database, nodes: Sequence[Node], *, timeout_s: float) -> list[MemberContent]:
    """Return every member's content, as soon as all are equal or when the time is up.

    Somebody always writes a little (heartbeats), and followers are a moment behind: equal once is equal.
    """
    deadline_s = time.monotonic() + timeout_s
    while True:
        members = await asyncio.gather(*(content(database, node) for node in nodes))
        alike = len({member.digest for member in members}) == 1 and not any(member.error for member in members)
        if alike or time.monotonic() > deadline_s:
            return members
        await asyncio.sleep(AGAIN_S)


async def content(database: Database, node: Node) -> MemberContent:
    """Ask one member for all it has; never raises."""
    try:
        run = Layout().database_run(database)
        tables = await _dump(database, str(node.path(f"{run}.sock")))
        text = await unixctl(str(node.path(f"{run}.ctl")), "cluster/status", database.value, timeout_s=ASK_S)
    except (OvsdbError, OvenbirdError, OSError) as error:
        return MemberContent(node=node.name, error=str(error) or type(error).__name__)
    status = parse_raft_status(text)
    return MemberContent(
        node=node.name,
        digest=hashlib.sha256(json.dumps(tables, sort_keys=True).encode()).hexdigest(),
        servers=tuple(sorted(f"{member.nickname} {member.address}" for member in status.members)),
        cid=status.cid,
        tables=tables,
    )


async def _dump(database: Database, socket: str) -> dict[str, dict[str, dict[str, Any]]]:
    connection = await Connection.open(parse_remote(f"unix:{socket}"), None, probe_interval_ms=0, timeout_s=ASK_S)
    try:
        schema = await connection.call("get_schema", [database.value], timeout_s=ASK_S)
        names = sorted(schema["tables"])
        selects = [
            {"op": "select", "table": name, "where": [], "columns": ["_uuid", *_columns(schema["tables"][name])]}
            for name in names
        ]
        answers = await connection.call("transact", [database.value, *selects], timeout_s=ASK_S)
    finally:
        await connection.close()
    return {
        name: {
            row["_uuid"][1]: {column: _sorted(value) for column, value in row.items() if column != "_uuid"}
            for row in answer["rows"]
        }
        for name, answer in zip(names, answers, strict=True)
    }


def _columns(table: Mapping[str, Any]) -> list[str]:
    return sorted(name for name, column in table["columns"].items() if not column.get("ephemeral"))


def _sorted(value: Any) -> Any:
    """Return a set or a map in one order, whatever the server's was."""
    if isinstance(value, list) and value[0] in ("set", "map"):
        return [value[0], sorted(value[1], key=json.dumps)]
    return value
