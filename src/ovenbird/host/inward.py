"""Has provider bridges hand in what comes for the addresses that this gateway carries, whatever they have learnt.

A provider bridge learns where a MAC address is from frames, and takes note of those of a flow that it knows only now
and then. While a router moves, two gateways send in its name: each one's bridge learns from the other's announcement
that the router is outside, and drops what comes in for it, for up to half a second. So for the time of a move a flow
leads such frames in. It ends by itself; it must never outlast a move by long, nor the patch port that it leads to (a
network that is declared anew gets another one), nor lead anything out.
"""

from __future__ import annotations

import time
from collections.abc import Collection

from ovenbird.host.bridge_flows import try_flows
from ovenbird.host.chassis import Chassis
from ovenbird.model.cluster import Host
from ovenbird.model.layout import Layout
from ovenbird.plan.announcing import Announcement
from ovenbird.plan.switch import provider_bridge

NOT_KEPT = "inward.not_kept"
LASTS_S = 5
"""Longer than a hold (`ovenbird.host.handover`): where nothing is carried any more, br-int drops what is led in."""
COOKIE = "0x6f766969"


class Inward:
    """The flows of one host."""

    def __init__(self, host: Host, chassis: Chassis, layout: Layout) -> None:
        self._host = host
        self._chassis = chassis
        self._layout = layout
        self._kept: dict[Announcement, float] = {}
        """What frames are handed in for -> until when (monotonic)."""

    async def keep(self, carried: Collection[Announcement]) -> None:
        """Have what comes for these handed in for `LASTS_S`. What cannot be done is logged: the move goes on."""
        by_bridge: dict[str, set[str]] = {}
        for one in carried:
            uplink = self._chassis.port_number(self._host.uplinks.get(one.physnet, ""))
            patch = self._chassis.patch_number(one.localnet)
            if uplink and patch:
                match = f"cookie={COOKIE},priority=64000,hard_timeout={LASTS_S},in_port={uplink},dl_dst={one.mac}"
                by_bridge.setdefault(provider_bridge(one.physnet), set()).add(f"add {match},actions=output:{patch}")
                self._kept[one] = time.monotonic() + LASTS_S
        await try_flows(self._layout, by_bridge, NOT_KEPT)

    async def end(self, gone: Collection[Announcement]) -> None:
        """Hand nothing in any more for what is not declared any more."""
        now_s = time.monotonic()
        by_bridge: dict[str, set[str]] = {}
        for one in self._kept.keys() & set(gone):
            if self._kept.pop(one) > now_s:
                by_bridge.setdefault(provider_bridge(one.physnet), set()).add(
                    f"delete cookie={COOKIE}/-1,dl_dst={one.mac}"
                )
        await try_flows(self._layout, by_bridge, NOT_KEPT)
