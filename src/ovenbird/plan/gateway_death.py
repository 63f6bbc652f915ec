"""Which gateways are dead, by the word of those that watch them: each chassis' own end of its BFD session.

Needed where OVN moves nothing by itself: a gateway router stays on its chassis, alive or not. One watcher may be cut
off, or too busy to see the other's packets, so a majority of those that have a session must say so. Who does not know,
or was not heard, has not said so; but who is lost itself, with the same rack perhaps, has no say. Pure. It must never
take silence for death.
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


def dead_peers(watchers: Iterable[Watcher]) -> frozenset[str]:
    """Return the peers that more than half of their watchers see down.

    No say has a watcher that is lost itself: nobody sees it up, and somebody sees it down or its agent is not heard.
    Nor one that sees nobody while others see somebody: it is the one that is cut off.
    """
    known = list(watchers)
    heard = [watcher for watcher in known if watcher.is_heard]
    up = {watcher.peer for watcher in heard if watcher.up}
    down = {watcher.peer for watcher in heard if watcher.up is False}
    lost = {watcher.host for watcher in known if watcher.host in down or not watcher.is_heard} - up
    seeing = {watcher.host for watcher in heard if watcher.up} - lost
    votes: dict[str, list[bool]] = {}
    for watcher in known:
        if watcher.host not in lost:
            says_down = watcher.is_heard and watcher.up is False and (watcher.host in seeing or not seeing)
            votes.setdefault(watcher.peer, []).append(says_down)
    return frozenset(peer for peer, said in votes.items() if 2 * sum(said) > len(said))
