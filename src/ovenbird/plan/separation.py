"""Which two gateways must not be in one group: they don't see each other though both work, or only one of them lives.

OVN decides by BFD alone. Two gateways whose tunnel is cut while everybody else sees both carry a router both, and claim
it in turn. And the last one of a group takes itself for cut off, and carries nothing, when no workload's host is behind
the router to be seen instead of the dead one. Such pairs are found here, from what agents and SB say, and let go again.
Pure. What is not known speaks for nothing, and one piece of evidence never takes a gateway out of service.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from itertools import combinations

from ovenbird.plan.hold_down import HoldDown

HEARD_S = 12.0
"""What an agent told last counts for so long after its last sign."""
SETTLE_S = 0.3
"""How long both must have missed each other, if both have long been seen by others."""
SETTLE_NEW_S = 3.0
"""The same where one of them came into service lately: sessions come up one after the other."""
STEADY_S = 3.0
"""Seen by others for so long is long."""
SILENT_S = 7.0
"""An agent that gave no sign for so long has missed one."""

Pair = frozenset[str]


class Why(Enum):
    """What is wrong with a pair."""

    PARTITION = "partition"
    """Both work and are seen, but not by each other."""
    UNPAIRED = "unpaired"
    """One is dead, and the other does not take over what it carried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What is known of one chassis; gateways are judged, others are witnesses."""

    name: str
    is_gateway: bool
    silent_s: float | None
    """Since its agent's last sign; None: not known."""
    confirms: bool | None
    """Whether it has confirmed what SB asks for (nb_cfg)."""
    bfd: Mapping[str, bool | None] = field(default_factory=dict)
    """Its ends of sessions, by its agent's last word: peer -> up or not."""
    carries: bool = False
    """Whether it carries a router, by SB."""

    @property
    def heard(self) -> bool:
        """Whether what it told counts."""
        return self.silent_s is not None and self.silent_s <= HEARD_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Separated:
    """A pair that must not be in one group."""

    why: Why
    lost: str = ""
    """The dead one; "" when both work, and each router keeps the one that it has."""
    good_since_s: float | None = None
    """Since when they see each other again."""
    falls_s: tuple[float, ...] = ()
    """When it was separated, lately."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What is known of pairs, and remembered from one look to the next."""

    separated: Mapping[Pair, Separated] = field(default_factory=dict)
    suspect_since_s: Mapping[tuple[Pair, Why], float] = field(default_factory=dict)
    seen_since_s: Mapping[str, float] = field(default_factory=dict)
    """Gateway -> since when it has been seeing others without a break."""
    falls_s: Mapping[Pair, tuple[float, ...]] = field(default_factory=dict)
    """Of pairs that are together again."""

    @property
    def is_waiting(self) -> bool:
        """Whether something may have to be decided soon."""
        return bool(self.suspect_since_s)


def judge(hosts: Sequence[Host], before: Watch, now_s: float, hold_down: HoldDown) -> Watch:
    """Return which pairs must be apart; `now_s` is any clock that only goes forward."""
    gateways = sorted((host for host in hosts if host.is_gateway), key=lambda host: host.name)
    seen = {host.name: before.seen_since_s.get(host.name, now_s) for host in gateways if _sees_others(host, partner="")}
    separated: dict[Pair, Separated] = {}
    suspects: dict[tuple[Pair, Why], float] = {}
    falls = dict(before.falls_s)
    for one, other in combinations(gateways, 2):
        pair = frozenset((one.name, other.name))
        why, lost = _suspicion(one, other, hosts)
        known = before.separated.get(pair)
        now = _still(known, one, other, hosts, now_s) if known is not None else None
        if now is not None and _is_over(now, hold_down, now_s):
            now = None
        if why is not None and (now is None or (lost and now.lost != lost)):
            since_s = before.suspect_since_s.get((pair, why), now_s)
            if now_s - since_s >= _settle_s(why, pair, seen, now_s):
                now = Separated(why=why, lost=lost, falls_s=hold_down.noted(falls.pop(pair, ()), now_s))
            else:
                suspects[pair, why] = since_s
        if now is not None:
            separated[pair] = now
        elif known is not None:
            falls[pair] = known.falls_s
    return Watch(separated=separated, suspect_since_s=suspects, seen_since_s=seen, falls_s=falls)


def kept(
    candidates: Sequence[str], members: Collection[str], carrier: str | None, separated: Mapping[Pair, Separated]
) -> tuple[str, ...]:
    """Return those of a router's candidates that may be in its group, in their order; never none of several.

    A dead one goes where OVN did not replace it, and stays away from groups that it is not in (`members`).
    """
    lost = {
        one.lost
        for pair, one in separated.items()
        if one.lost and pair.issubset(candidates) and (one.lost == carrier or one.lost not in members)
    }
    alive = [name for name in candidates if name not in lost] or list(candidates)
    cut = {pair for pair, one in separated.items() if not one.lost}
    chosen: list[str] = []
    for name in alive:
        if all(frozenset((name, other)) not in cut for other in chosen):
            chosen.append(name)
    return tuple(chosen)


def written(separated: Mapping[Pair, Separated]) -> frozenset[str]:
    """Return pairs as text: "partition g1 g2", or "unpaired g1 g2" with the dead one first."""
    return frozenset(
        " ".join((one.why.value, *sorted(pair, key=lambda name: (name != one.lost, name))))
        for pair, one in separated.items()
    )


def read(texts: Iterable[str]) -> dict[Pair, Separated]:
    """Return the pairs that `written` has written; whatever is no such text is left out."""
    found: dict[Pair, Separated] = {}
    for text in texts:
        word, _, rest = text.partition(" ")
        names = rest.split()
        why = next((why for why in Why if why.value == word), None)
        if why is not None and len(names) == len(set(names)) == 2:
            found[frozenset(names)] = Separated(why=why, lost=names[0] if why is Why.UNPAIRED else "")
    return found


def needs_confirmation(hosts: Sequence[Host]) -> bool:
    """Whether a chassis may be dead and SB has not asked it for anything since."""
    gateways = [host for host in hosts if host.is_gateway]
    return any(
        host.carries
        and host.confirms is True
        and host.silent_s is not None
        and host.silent_s >= SILENT_S - 2.0
        and any(other.heard and other.bfd.get(host.name) is False for other in gateways)
        for host in gateways
    )


def seen_by(hosts: Sequence[Host]) -> dict[str, frozenset[str]]:
    """Return, by chassis, which hosts that are heard see it by BFD."""
    found: dict[str, set[str]] = {}
    for host in hosts:
        for peer, up in host.bfd.items() if host.heard else ():
            if up:
                found.setdefault(peer, set()).add(host.name)
    return {peer: frozenset(names) for peer, names in found.items()}


def _suspicion(one: Host, other: Host, hosts: Sequence[Host]) -> tuple[Why | None, str]:
    """Return what may be wrong with a pair, and who of both would be the dead one."""
    for alive, dead in ((one, other), (other, one)):
        if _misses(alive, dead) and _is_dead(dead, alive, hosts):
            return Why.UNPAIRED, dead.name
    if one.heard and other.heard and one.bfd.get(other.name) is False and other.bfd.get(one.name) is False:
        sees = _sees_others(one, other.name), _sees_others(other, one.name)
        nobody = _has_others(one, other.name), _has_others(other, one.name)
        # One that sees nobody though there are others, or is seen by none of them, is cut off itself or dead: then OVN
        # knows what to do. What it told last may be from before.
        gone = _is_gone(one, other, hosts) or _is_gone(other, one, hosts)
        return (Why.PARTITION, "") if not gone and (all(sees) or not any(nobody)) else (None, "")
    return None, ""


def _misses(alive: Host, dead: Host) -> bool:
    """Whether it works, and does not see the other."""
    works = alive.silent_s is not None and alive.silent_s < SILENT_S and alive.confirms is True
    return works and alive.bfd.get(dead.name) is False


def _is_dead(dead: Host, alive: Host, hosts: Sequence[Host]) -> bool:
    """Whether it should carry something, but neither agent nor ovn-controller gives a sign, and nobody sees it."""
    silent = dead.silent_s is not None and dead.silent_s >= SILENT_S and dead.confirms is False
    seen = seen_by(hosts).get(dead.name, frozenset()) - {dead.name, alive.name}
    return dead.carries and silent and not seen


def _settle_s(why: Why, pair: Pair, seen: Mapping[str, float], now_s: float) -> float:
    if why is Why.UNPAIRED:
        return 0.0  # what it takes to be suspected has taken long enough
    return SETTLE_S if all(now_s - seen.get(name, now_s) >= STEADY_S for name in pair) else SETTLE_NEW_S


def _still(known: Separated, one: Host, other: Host, hosts: Sequence[Host], now_s: float) -> Separated | None:
    """Return what a separated pair is now; None: it must not be separated any more, however short it was well."""
    ends = one.bfd.get(other.name), other.bfd.get(one.name)
    if one.heard and other.heard and ends == (True, True) and one.confirms and other.confirms:
        since_s = now_s if known.good_since_s is None else known.good_since_s
        return replace(known, good_since_s=since_s)
    if known.why is Why.PARTITION and (_is_gone(one, other, hosts) or _is_gone(other, one, hosts)):
        return None  # the other one must be able to take over
    return replace(known, good_since_s=None)


def _is_over(one: Separated, hold_down: HoldDown, now_s: float) -> bool:
    """Whether they have seen each other for long enough."""
    return one.good_since_s is not None and now_s - one.good_since_s >= hold_down.after(one.falls_s, now_s)


def _is_gone(name: Host, partner: Host, hosts: Sequence[Host]) -> bool:
    """Whether others had it in sight and nobody sees it any more."""
    told = [host.bfd[name.name] for host in hosts if host.heard and host is not partner and name.name in host.bfd]
    return bool(told) and not any(told) and None not in told


def _sees_others(host: Host, partner: str) -> bool:
    return host.heard and any(up for peer, up in host.bfd.items() if peer != partner)


def _has_others(host: Host, partner: str) -> bool:
    return any(peer != partner for peer in host.bfd)
