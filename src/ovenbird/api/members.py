"""Asks every member of the three databases what it is, live and in parallel, each with a deadline of its own."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Mapping
from dataclasses import replace

from ovenbird.model.cluster import Cluster, Database, Host, bracketed
from ovenbird.ovsdb import OvsdbError, ServerDatabase, probe_server
from ovenbird.plan.observation import DatabaseView, Member, MemberState

PROBE_TIMEOUT_S = 1.0

Terms = Mapping[tuple[str, Database], tuple[int, float]]
"""(host, database) -> (RAFT term, its age in seconds): told by control sockets and agents, as `_Server` does not."""


async def ask_members(cluster: Cluster) -> tuple[DatabaseView, ...]:
    """Return every database with each expected member's state; takes at most `PROBE_TIMEOUT_S`."""
    asked = [(database, host) for database in Database for host in cluster.centrals]
    members = await asyncio.gather(*(ask_member(database, host) for database, host in asked))
    return tuple(
        DatabaseView(
            name=database.short,
            members=tuple(member for (of, _), member in zip(asked, members, strict=True) if of is database),
        )
        for database in Database
    )


async def ask_member(database: Database, host: Host) -> Member:
    """Return what one member says of itself."""
    remote = f"tcp:{bracketed(host.address)}:{database.client_port}"
    state, why, cid = MemberState.UNKNOWN, "", ""
    try:
        rows = await probe_server(remote, timeout_s=PROBE_TIMEOUT_S)
        row = next((row for row in rows if row.name == database.value), None)
        state, why = state_of(row, database)
        cid = str(row.cid or "") if row else ""
    except (OvsdbError, OSError) as error:
        state = MemberState.ABSENT if is_refused(error) else MemberState.UNKNOWN
        why = "connection refused" if is_refused(error) else str(error) or type(error).__name__
    return Member(host=host.name, remote=remote, state=state, why=why, cid=cid)


def with_terms(views: tuple[DatabaseView, ...], terms: Terms) -> tuple[DatabaseView, ...]:
    """Return the databases with their members' terms filled in where they are known."""
    by_name = {(host, database.short): told for (host, database), told in terms.items()}

    def filled(view: DatabaseView, member: Member) -> Member:
        term, age_s = by_name.get((member.host, view.name), (None, None))
        return replace(member, term=term, term_age_s=age_s)

    return tuple(replace(view, members=tuple(filled(view, member) for member in view.members)) for view in views)


def state_of(row: ServerDatabase | None, database: Database) -> tuple[MemberState, str]:
    """Return a member's state by its row in `_Server`, and why if it is not serving."""
    if row is None:
        return MemberState.ABSENT, f"its server has no database {database.value}"
    if not row.has_schema:
        return MemberState.ABSENT, "it has not finished joining its cluster"
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
