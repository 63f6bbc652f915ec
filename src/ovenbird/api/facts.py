"""What the agents tell about their hosts (`Node.facts`), read with an open mind: what is absent or odd is unknown.

The form is that of docs/architecture.md, "Facts of a host". An agent of another version may tell less or more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ovenbird.model.cluster import Database
from ovenbird.plan.observation import Bfd, NorthdState

Facts = Mapping[str, Any]


def raft_terms(facts: Facts) -> Iterator[tuple[Database, int]]:
    """Return the RAFT terms of that host's members."""
    databases = facts.get("databases")
    for database in Database:
        told = databases.get(database.short) if isinstance(databases, Mapping) else None
        term = told.get("term") if isinstance(told, Mapping) else None
        if isinstance(term, int):
            yield database, term


def northd_state(facts: Facts) -> NorthdState:
    """Return the state of that host's ovn-northd."""
    told = facts.get("northd")
    return parse_northd(str(told)) if told else NorthdState.UNKNOWN


def parse_northd(text: str) -> NorthdState:
    """Return the state that `ovn-appctl -t ovn-northd status` tells: `Status: active`."""
    word = text.rpartition(":")[2].strip().lower()
    return next((state for state in NorthdState if state.value == word), NorthdState.UNKNOWN)


def bfd_ends(host: str, facts: Facts, age_s: float) -> Iterator[Bfd]:
    """Return that host's ends of BFD sessions."""
    told = facts.get("bfd")
    for peer, state in told.items() if isinstance(told, Mapping) else ():
        up = {"up": True, "down": False, "init": False, "admin_down": False}.get(str(state))
        yield Bfd(host=host, peer=str(peer), up=up, age_s=age_s)
