"""Decides how a member's election timer gets to the wanted value: ovsdb-server lets it at most double per step."""

from __future__ import annotations


def next_election_timer_ms(now_ms: int, wanted_ms: int) -> int | None:
    """Return the value to ask the leader for next; None when nothing is to be done or the present one is unknown."""
    if now_ms <= 0 or now_ms == wanted_ms:
        return None
    return min(wanted_ms, 2 * now_ms)
