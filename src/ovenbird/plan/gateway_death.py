"""Which gateways are dead, by the word of those that watch them: each chassis' own end of its BFD session.

Needed where OVN moves nothing by itself: a gateway router stays on its chassis, alive or not. One watcher may be cut
off, or too busy to see the other's packets, so a majority of all that have a session must say so; one that was not
heard lately, or does not know, counts as a watcher that has not said so. Pure. It must never take silence for death.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Watcher:
    """One end of a BFD session."""

    host: str
    peer: str
    up: bool | None
    is_heard: bool
    """Whether the agent of `host` was heard lately."""


def dead_gateways(watchers: Iterable[Watcher]) -> frozenset[str]:
    """Return the peers that more than half of their watchers see down.

    A watcher that sees nobody up while others still see somebody is the one that is cut off: it has no say.
    """
    known = list(watchers)
    seeing = {watcher.host for watcher in known if watcher.is_heard and watcher.up}
    votes: dict[str, list[bool]] = {}
    for watcher in known:
        said_down = watcher.is_heard and watcher.up is False and (watcher.host in seeing or not seeing)
        votes.setdefault(watcher.peer, []).append(said_down)
    return frozenset(peer for peer, said in votes.items() if 2 * sum(said) > len(said))
