"""Must a gateway host silence itself? Only when it can carry nothing, and its ovn-controller cannot see to it. Pure.

A gateway that sees nobody through its tunnels has been replaced by others, if there are any, and OVN takes its routers
away from it: ovn-controller does, on that very host. One that hangs, does not run, or has no SB to work with does not,
and the host goes on answering ARP for addresses that another one has by now. Unknown silences nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

ALONE_S = 1.0
"""All tunnels must have been dead for so long."""
FAILS_S = 1.0
"""ovn-controller must not have worked for so long: one that is merely being started again does by then."""
WORKS_S = 2.0
"""ovn-controller must have been working for so long before what it left is trusted: its flows come after that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Isolation:
    """What is remembered from one look to the next; moments by a clock that only goes forward."""

    silent: bool = False
    """Whether the host is to say nothing on its provider networks."""
    alone_since_s: float | None = None
    works_since_s: float | None = None
    fails_since_s: float | None = None


def judge(sessions: Sequence[bool | None], works: bool | None, before: Isolation, now_s: float) -> Isolation:
    """Return what is to be done. `sessions`: its ends of tunnels' BFD; `works`: its ovn-controller, None: not known."""
    alone = bool(sessions) and all(up is False for up in sessions)
    alone_since_s = (now_s if before.alone_since_s is None else before.alone_since_s) if alone else None
    works_since_s = (now_s if before.works_since_s is None else before.works_since_s) if works else None
    fails = works is False
    fails_since_s = (now_s if before.fails_since_s is None else before.fails_since_s) if fails else None
    silent = before.silent
    if alone_since_s is None or (works_since_s is not None and now_s - works_since_s >= WORKS_S):
        silent = False
    elif fails_since_s is not None and now_s - alone_since_s >= ALONE_S and now_s - fails_since_s >= FAILS_S:
        silent = True
    return Isolation(
        silent=silent, alone_since_s=alone_since_s, works_since_s=works_since_s, fails_since_s=fails_since_s
    )
