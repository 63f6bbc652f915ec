"""Asks every member of the three databases what it is, live and in parallel, each with a deadline of its own."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Mapping

from ovenbird.model.cluster import Cluster, Database, Host, bracketed
from ovenbird.ovsdb import OvsdbError, ServerDatabase, probe_server
from ovenbird.plan.observation import DatabaseView, Member, MemberState

PROBE_TIMEOUT_S = 1.0

Terms = Mapping[tuple[str, Database], tuple[int, float]]
"""(host, database) -> (RAFT term, its age in seconds): told by control sockets and agents, as `_Server` does not."""


async def ask_members(cluster: Cluster, terms: Terms) -> tuple[DatabaseView, ...]:
    """Return every database with each expected member's state; takes at most `PROBE_TIMEOUT_S`."""
    asked = [(database, host) for database in Database for host in cluster.centrals]
    members = await asyncio.gather(*(ask_member(database, host, terms) for database, host in asked))
    return tuple(
        DatabaseView(
            name=database.short,
            members=tuple(member for (of, _), member in zip(asked, members, strict=True) if of is database),
        )
        for database in Database
    )


async def ask_member(database: Database, host: Host, terms: Terms) -> Member:
    """Return what one member says of itself."""
    remote = f"tcp:{bracketed(host.address)}:{database.client_port}"
    term, age_s = terms.get((host.name, database), (None, None))
    state, why, cid = MemberState.UNKNOWN, "", ""
    try:
        rows = await probe_server(remote, timeout_s=PROBE_TIMEOUT_S)
        row = next((row for row in rows if row.name == database.value), None)
        state, why = state_of(row, database)
        cid = str(row.cid or "") if row else ""
    except (OvsdbError, OSError) as error:
        state = MemberState.ABSENT if is_refused(error) else MemberState.UNKNOWN
        why = "connection refused" if is_refused(error) else str(error) or type(error).__name__
    return Member(
        host=host.name, remote=remote, state=state, why=why, cid=cid, term=term, term_age_s=age_s if term else None
    )


def state_of(row: ServerDatabase | None, database: Database) -> tuple[MemberState, str]:
    """Return a member's state by its row in `_Server`, and why if it is not serving."""
    if row is None:
        return MemberState.ABSENT, f"its server has no database {database.value}"
    if not row.connected:
        return MemberState.DISCONNECTED, "in contact with no majority"
    if row.model == "clustered" and not row.leader:
        return MemberState.FOLLOWER, ""
    return MemberState.LEADER, ""


def is_refused(error: BaseException | None) -> bool:
    """Whether the host itself answered that nobody listens, however the client wrapped that."""
    while error is not None:
        if isinstance(error, OSError) and error.errno == errno.ECONNREFUSED:
            return True
        error = error.__cause__
    return False
