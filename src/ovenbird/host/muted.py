"""Keeps a gateway from saying anything outside in the name of some routers, whatever ovn-controller thinks of them.

What they send into a provider network is dropped on that network's bridge, by flows that end by themselves if this
agent does. Everything else of the host goes on. For whom, and for how long, is decided in `ovenbird.plan.isolation`.
"""

from __future__ import annotations

import time
from collections.abc import Collection

from ovenbird.host.bridge_flows import change_flows
from ovenbird.host.chassis import Chassis
from ovenbird.model.layout import Layout
from ovenbird.plan.announcing import Announcement
from ovenbird.plan.switch import provider_bridge

LASTS_S = 5
RENEW_S = 1.5
COOKIE = "0x6f76696d"
TIMEOUT_S = 2.0


class Muted:
    """The flows of one host. `macs` are those for which nothing is said."""

    def __init__(self, chassis: Chassis, layout: Layout) -> None:
        self._chassis = chassis
        self._layout = layout
        self._flows: dict[str, set[str]] = {}
        """Bridge -> what its flows match."""
        self._renewed_s = 0.0
        self.macs: frozenset[str] = frozenset()

    async def keep(self, those: Collection[Announcement]) -> None:
        """Have nothing said for these, and for no others. Raises `OvenbirdError` if Open vSwitch does not take it."""
        wanted, macs = self._matches(those), frozenset(one.mac for one in those)
        now_s = time.monotonic()
        if (wanted, macs) == (self._flows, self.macs) and now_s - self._renewed_s < RENEW_S:
            return
        before, self._flows = self._flows, wanted
        # Who is no longer muted may be announced only when it may also answer.
        self.macs |= macs
        for bridge in sorted(before.keys() | wanted.keys()):
            gone = before.get(bridge, set()) - wanted.get(bridge, set())
            lines = [f"delete_strict cookie={COOKIE}/-1,priority=64500,{match}" for match in sorted(gone)]
            for match in sorted(wanted.get(bridge, ())):
                flow = f"cookie={COOKIE},priority=64500,hard_timeout={LASTS_S},{match},actions=drop"
                lines.append(f"add {flow}")
            await change_flows(self._layout, bridge, lines, timeout_s=TIMEOUT_S)
        self._renewed_s = now_s
        self.macs = macs

    def _matches(self, those: Collection[Announcement]) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for one in those:
            if patch := self._chassis.patch_number(one.localnet):
                found.setdefault(provider_bridge(one.physnet), set()).add(f"in_port={patch},dl_src={one.mac}")
        return found
