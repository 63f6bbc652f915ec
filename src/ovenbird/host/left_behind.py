"""What an ovn-controller that died or hangs has left behind on this gateway: flows that nobody keeps.

They answer and forward on for routers that others carry by now, for as long as no other ovn-controller works in its
place: in a crash loop that may be long. For those nothing is to be said. Must never count what nobody else claims: a
gateway without ovn-controller that still forwards is better than none.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from ovenbird.host.announcer import Announcer
from ovenbird.host.southbound_rows import SouthboundRows
from ovenbird.plan.announcing import Announcement
from ovenbird.plan.isolation import LEFT_BEHIND_S, left_behind


class LeftBehind:
    """Watches one gateway for it."""

    def __init__(self, name: str, rows: SouthboundRows, announcer: Announcer, works: Callable[[], bool]) -> None:
        """`works`: whether this host's ovn-controller does, as far as is known."""
        self._name = name
        self._rows = rows
        self._announcer = announcer
        self._works = works
        self._since_s: dict[Announcement, float] = {}
        """Since when others claim it (monotonic)."""

    def look(self) -> frozenset[Announcement]:
        """Return for what nothing is to be said."""
        now_s = time.monotonic()
        works = self._works()
        macs = frozenset() if works else self._rows.claimed_by_others(self._name)
        carried = self._announcer.carried if macs else frozenset()
        elsewhere = {one for one in carried if one.mac in macs}
        self._since_s = left_behind(carried, elsewhere, works, self._since_s, now_s)
        return frozenset(one for one, since_s in self._since_s.items() if now_s - since_s >= LEFT_BEHIND_S)
