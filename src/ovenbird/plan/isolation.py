"""For which addresses must a gateway that is or was cut off say nothing? Pure.

A gateway that sees nobody through its tunnels has been replaced by others, if there are any, and OVN takes its routers
away from it: ovn-controller does, on that very host. One that hangs, does not run, or has no SB to work with does not,
and the host goes on answering ARP for addresses that another one has by now: then it must say nothing at all.

When the tunnels are back, sessions come up one after the other, within a second or so. Whom ovn-controller does not see
yet it takes for dead, and answers for what they carry; and what it knows of SB may be from before. So a gateway that
was cut off says nothing for what it did not carry until it sees all other gateways and works with the members' SB, or
that takes too long. Unknown silences nobody.

And what an ovn-controller that died or hangs has left behind goes on answering too, for as long as none can be started
in its place: for what another gateway has claimed meanwhile nothing is to be said.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

ALONE_S = 1.0
"""All tunnels must have been dead for so long."""
FAILS_S = 1.0
"""ovn-controller must not have worked for so long: one that is merely being started again does by then."""
WORKS_S = 2.0
"""ovn-controller must have been working for so long before what it left is trusted: its flows come after that."""
SETTLED_S = 0.5
"""All gateways must have been in sight for so long: ovn-controller computes after it has seen the last one."""
LONGEST_S = 3.0
"""After the first tunnel is back nobody is waited for longer: if all were cut off at once, nobody else answers."""
UNHURRIED_S = 3.0
"""How long ovn-controller has no hurry once a gateway that was cut off trusts what it sees: 23.03 takes a processor of
its own until a claim that it had to put off, and wants no more, is 2.5 s old."""

LEFT_BEHIND_S = 0.7
"""Another gateway must have claimed it for so long: hosts that send have turned there by then."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Isolation:
    """What is remembered from one look to the next; moments by a clock that only goes forward."""

    silent: bool = False
    """Whether the host is to say nothing on its provider networks."""
    wary: bool = False
    """Whether it is to say nothing for what it did not carry while it was cut off."""
    alone_since_s: float | None = None
    works_since_s: float | None = None
    fails_since_s: float | None = None
    back_since_s: float | None = None
    """Since when it sees somebody again."""
    settled_since_s: float | None = None
    """Since when it sees all other gateways, and works with what the members say."""
    wary_at_s: float | None = None
    """When it was wary last."""

    def hurries(self, now_s: float) -> bool:
        """Whether its ovn-controller is to come before other processes: not while, and just after, it is cut off."""
        return self.wary_at_s is None or now_s - self.wary_at_s >= UNHURRIED_S

    @property
    def returning(self) -> bool:
        """Whether it sees some again, and does not know yet who carries what."""
        return self.wary and self.back_since_s is not None


def is_alone(sessions: Mapping[str, bool | None]) -> bool:
    """Whether no tunnel with BFD works; `sessions`: its ends of them, by peer."""
    return bool(sessions) and all(up is False for up in sessions.values())


def judge(
    sessions: Mapping[str, bool | None],
    gateways: Collection[str],
    works: bool | None,
    before: Isolation,
    now_s: float,
    *,
    fresh: bool = True,
) -> Isolation:
    """Return what is to be done.

    `works`: its ovn-controller, None: not known; `fresh`: it works with the members' SB, and no copy of before.
    """
    alone = is_alone(sessions)
    alone_since_s = _since(before.alone_since_s, alone, now_s)
    works_since_s = _since(before.works_since_s, bool(works), now_s)
    fails_since_s = _since(before.fails_since_s, works is False, now_s)
    silent = before.silent
    if alone_since_s is None or (works_since_s is not None and now_s - works_since_s >= WORKS_S):
        silent = False
    elif fails_since_s is not None and now_s - alone_since_s >= ALONE_S and now_s - fails_since_s >= FAILS_S:
        silent = True
    now = replace(
        before, silent=silent, alone_since_s=alone_since_s, works_since_s=works_since_s, fails_since_s=fails_since_s
    )
    if alone_since_s is not None:
        wary = before.wary or now_s - alone_since_s >= ALONE_S
        wary_at_s = now_s if wary else before.wary_at_s
        return replace(now, wary=wary, wary_at_s=wary_at_s, back_since_s=None, settled_since_s=None)
    return _returned(now, sessions, gateways, fresh and works is not False, now_s) if before.wary else now


def _returned(
    now: Isolation, sessions: Mapping[str, bool | None], gateways: Collection[str], fresh: bool, now_s: float
) -> Isolation:
    """Judge one that was cut off and sees somebody: whether it may trust what it sees."""
    back_since_s = now_s if now.back_since_s is None else now.back_since_s
    settled = fresh and all(up for peer, up in sessions.items() if peer in gateways)
    settled_since_s = _since(now.settled_since_s, settled, now_s)
    enough = settled_since_s is not None and now_s - settled_since_s >= SETTLED_S
    if enough or now_s - back_since_s >= LONGEST_S or not sessions:
        return replace(now, wary=False, back_since_s=None, settled_since_s=None)
    return replace(now, wary_at_s=now_s, back_since_s=back_since_s, settled_since_s=settled_since_s)


def muted(known: frozenset[T], carried: frozenset[T], before: frozenset[T], judged: Isolation) -> frozenset[T]:
    """Return for which of the known addresses nothing is to be said; `carried`: here, by the flows there are."""
    if not judged.wary:
        return frozenset()
    if judged.returning:
        return before & known
    return known if judged.silent else known - carried


def left_behind(
    carried: Collection[T], elsewhere: Collection[T], works: bool, before_s: Mapping[T, float], now_s: float
) -> dict[T, float]:
    """Return what only the flows of an ovn-controller that does not work carry here, and since when others claim it.

    `carried`: by the flows; `elsewhere`: others claim it; `before_s`: the answer of the look before.
    """
    return {} if works else {one: before_s.get(one, now_s) for one in carried if one in elsewhere}


def _since(before_s: float | None, holds: bool, now_s: float) -> float | None:
    return (now_s if before_s is None else before_s) if holds else None
