"""What the agents tell about their hosts (`Node.facts`), read with an open mind: what is absent or odd is unknown.

The form is that of docs/architecture.md, "Facts of a host". An agent of another version may tell less or more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ovenbird.model.cluster import Database
from ovenbird.plan.bfd_timers import Flap, Strain
from ovenbird.plan.observation import Autonomy, Bfd, NorthdState, NotLearnt
from ovenbird.plan.outside import Learnt

NORTHD = "ovn-northd"
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
    if daemons(facts).get(NORTHD) is False:
        return NorthdState.STOPPED
    return parse_northd(str(facts.get("northd", "")))


def parse_northd(text: str) -> NorthdState:
    """Return the state that `ovn-appctl -t ovn-northd status` tells: `Status: active`."""
    word = text.rpartition(":")[2].strip().lower()
    return next((state for state in NorthdState if state.value == word), NorthdState.UNKNOWN)


def bfd_ends(host: str, facts: Facts, age_s: float) -> Iterator[Bfd]:
    """Return that host's ends of BFD sessions."""
    told = facts.get("bfd")
    for each in told if isinstance(told, list) else ():
        if isinstance(each, Mapping) and each.get("chassis"):
            up = {"up": True, "down": False, "init": False, "admin_down": False}.get(str(each.get("state")))
            yield Bfd(host=host, peer=str(each["chassis"]), up=up, age_s=age_s)


def autonomy(host: str, facts: Facts) -> Autonomy:
    """Return whether that gateway fails over with the central tier away."""
    told = facts.get("southbound")
    if not isinstance(told, Mapping):
        return Autonomy(name=host, why="its agent does not tell")
    works = told.get("works_alone")
    return Autonomy(
        name=host,
        works_alone=works if isinstance(works, bool) else None,
        path=str(told.get("path", "unknown")),
        relay=str(told.get("relay", "unknown")),
        why=str(told.get("why", "")),
    )


def strain_of(host: str, facts: Facts) -> Strain:
    """Return how busy that host is."""
    told = facts.get("strain")
    if not isinstance(told, Mapping):
        return Strain(host=host)
    waited_ms, flaps = told.get("waited_ms"), told.get("flaps")
    return Strain(
        host=host,
        waited_ms=waited_ms if isinstance(waited_ms, int) else 0,
        flaps=tuple(
            Flap(
                peer=str(each["peer"]),
                at_s=float(each["at_s"]),
                waited_ms=int(each["waited_ms"]),
                stolen_ms=int(each.get("stolen_ms", 0)),
            )
            for each in (flaps if isinstance(flaps, list) else ())
            if isinstance(each, Mapping) and {"peer", "at_s", "waited_ms"} <= each.keys()
        ),
    )


def claims(facts: Facts) -> dict[str, Mapping[str, Any]]:
    """Return what that gateway has taken lately, by MAC address (`plan/outside.py`, `Claim.to_json`)."""
    return {mac: claim for mac, claim in _outside(facts, "claims").items() if isinstance(claim, Mapping)}


def released(facts: Facts) -> dict[str, int]:
    """Return when that gateway let go of MAC addresses lately, in unix milliseconds."""
    return {mac: at_ms for mac, at_ms in _outside(facts, "released").items() if isinstance(at_ms, int)}


def _outside(facts: Facts, section: str) -> Mapping[str, Any]:
    told = facts.get("outside")
    found = told.get(section) if isinstance(told, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def not_learnt(host: str, facts: Facts) -> Iterator[NotLearnt]:
    """Return the addresses of which the outside has not learnt that this gateway carries them."""
    for mac, claim in claims(facts).items():
        if claim.get("state") == Learnt.SILENT.value:
            address, next_hop = str(claim.get("address", "")), str(claim.get("next_hop", ""))
            yield NotLearnt(gateway=host, address=address, mac=mac, next_hop=next_hop)


def daemons(facts: Facts) -> dict[str, bool]:
    """Return the daemons of that host of which it is known whether they run."""
    told = facts.get("daemons")
    if not isinstance(told, Mapping):
        return {}
    alive = {str(name): each.get("alive") for name, each in told.items() if isinstance(each, Mapping)}
    return {name: value for name, value in alive.items() if isinstance(value, bool)}


def controller_connected(facts: Facts) -> bool | None:
    """Return whether that host's ovn-controller is connected to SB."""
    return {"connected": True, "not connected": False}.get(str(facts.get("controller")))


def is_held(facts: Facts) -> bool | None:
    """Return whether that host's agent holds ovs-vswitchd back from the tunnels; False where agents do not tell yet."""
    told = facts.get("held", False)
    return told if isinstance(told, bool) else None


def next_hop_macs(facts: Facts) -> dict[str, str]:
    """Return the hardware addresses at which that gateway sees upstream routers, by ExternalNetwork."""
    told = facts.get("fitness")
    macs = told.get("next_hops") if isinstance(told, Mapping) else None
    return {str(name): str(mac) for name, mac in macs.items()} if isinstance(macs, Mapping) else {}
