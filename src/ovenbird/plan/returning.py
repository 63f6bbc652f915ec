"""When a gateway that comes back may be let go: not while others carry what it would take, unless it is meant to.

OVN lets the greatest live priority win. While a controller acts it has put those first that carry routers by now. One
that comes back together with the central tier, or without it, finds the order of before: it would take routers from
gateways that carry them well, and for a second or more these would have let go while hosts still send to them. Whether
another carries a router is asked of the outside, by ARP: that needs no database. Pure. It must never keep a gateway
waiting that is needed: what nobody answers for, or nobody else could carry, is reason enough to let it go.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

SILENT_S = 0.8
"""Nobody carries a router whose address was not answered for so long, asked every `ASK_EVERY_S`."""
ASK_EVERY_S = 0.2
RULED_S = 60.0
"""With members of SB in reach an order that nobody changed for so long is meant. A controller that has just begun
follows a failover after 10 s."""
HOSTS_S = 10.0
"""Once SB's members are in reach here, each host's ovn-controller has found them within this: it tries every 8 s at
last (ovsdb's reconnect). One that has not would still prefer a gateway by the order of before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stake:
    """A router's leg that a gateway may carry."""

    name: str
    address: str
    """IPv4, outside."""
    mac: str
    physnet: str
    vlan: int = 0
    """0: untagged."""
    first: bool = False
    """Whether OVN would give it to this gateway."""
    alone: bool = False
    """Whether no other gateway could carry it."""
    preempts: bool = False
    """Whether it is to take it at once, by the router's policy."""


@dataclass(frozen=True, slots=True)
class Ruling:
    """What is to be done with the gateway, and why."""

    waits: bool
    why: str


def rule(
    stakes: Collection[Stake],
    asked_s: Mapping[Stake, float],
    heard_s: Mapping[Stake, float],
    members_since_s: float | None,
    now_s: float,
    *,
    waited: bool = False,
) -> Ruling:
    """Return whether a gateway waits. All moments are of one clock.

    `asked_s`: when each was asked first; `heard_s`: when another gateway answered last. `members_since_s`: since when
    the rows are those of SB's members; None if they are a copy's. `waited`: whether it had to wait so far.
    """
    ours = [stake for stake in stakes if stake.first and not stake.preempts and not stake.alone]
    early = waited and members_since_s is not None and now_s - members_since_s < HOSTS_S
    if not ours and not early:
        return Ruling(waits=False, why="others come first")
    if (alone := min((stake.name for stake in stakes if stake.alone), default=None)) is not None:
        return Ruling(waits=False, why=f"nobody else could carry {alone}")
    if members_since_s is not None and now_s - members_since_s >= RULED_S:
        return Ruling(waits=False, why="the order stays as it is")
    unknown = False
    for stake in sorted(stakes, key=lambda stake: stake.name):
        last_s = max(asked_s.get(stake, math.inf), heard_s.get(stake, -math.inf))
        if now_s - last_s >= SILENT_S:
            return Ruling(waits=False, why=f"nobody answers for {stake.address} of {stake.name}")
        unknown = unknown or stake not in heard_s
    if not ours:
        return Ruling(waits=True, why="others come first, which hosts may not have heard of yet")
    first = min(stake.name for stake in ours)
    why = "it is asked who carries" if unknown else "another gateway carries"
    return Ruling(waits=True, why=f"{why} {first}, for which this one comes first")
