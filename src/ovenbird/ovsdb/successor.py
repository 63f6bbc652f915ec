"""A silent leader: has it been cut off, or is it only busy? The other members know.

A server does one thing at a time, RAFT included, and a great transaction keeps it silent for seconds; leaving it then
would cost its locks for nothing. So after a short silence the others are asked, and it is left at once when one of them
leads by now. (Who does not want a leader leaves it for any other that answers.) Without such a word only its own long
silence counts (`Connection`'s probes). It must never connect for longer than one question.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from ovenbird.ovsdb.errors import OvsdbError
from ovenbird.ovsdb.remotes import Remote, Tls
from ovenbird.ovsdb.server import ServerDatabase, probe_server
from ovenbird.ovsdb.session import Session

ECHO_S = 1.0
"""A connection on which nothing came for this long is asked for a sign of life; none within as long is silence."""
ASK_S = 1.0
"""Longest time for another member to answer."""
ASK_AGAIN_S = 0.25


async def watch_for_successor(
    session: Session, others: Sequence[Remote], tls: Tls | None, judge: Callable[[ServerDatabase], None]
) -> None:
    """End the session when its server is silent and another passes judgement. Runs until cancelled, or that happens."""
    while not session.ended.done():
        await asyncio.sleep(ECHO_S)
        if session.connection.silent_s < ECHO_S or await _is_alive(session):
            continue
        # An election may just be going on: ask again soon, for as long as nothing more is heard of this one.
        while session.connection.silent_s >= ECHO_S and not session.ended.done():
            leaders = await asyncio.gather(*(_leads(remote, session.database, tls, judge) for remote in others))
            if successor := next((remote for remote, leads in zip(others, leaders, strict=True) if leads), None):
                # No late answer is to be waited for: what was under way there fails now, its outcome unknown.
                silent = f"silent for {session.connection.silent_s:.1f} s"
                session.abort(f"{silent}, and {successor.text} will do")
                break
            await asyncio.sleep(ASK_AGAIN_S)


async def _is_alive(session: Session) -> bool:
    try:
        await session.connection.call("echo", [], timeout_s=ECHO_S)
    except OvsdbError:
        return session.connection.silent_s < ECHO_S
    return True


async def _leads(remote: Remote, database: str, tls: Tls | None, judge: Callable[[ServerDatabase], None]) -> bool:
    try:
        for row in await probe_server(remote.text, tls=tls, timeout_s=ASK_S):
            if row.name == database:
                judge(row)
                return True
    except OvsdbError:
        return False
    return False
