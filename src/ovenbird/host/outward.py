"""Has a gateway that is about to lose routers teach the outside no more where these are.

The gateway that has taken a router announces it while this one still forwards what comes late. Each frame of this one
with the router's address as its source, and each answer to an ARP request, would turn the physical network back to it,
and what then comes here after it has let go is lost. So for the last moment of a hold its packets leave with the
uplink's own address as their source, and what tells addresses does not leave at all. The flows end by themselves; none
may outlast the moment in which this gateway carries the router again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from ovenbird.host.bridge_flows import try_flows
from ovenbird.host.chassis import Chassis
from ovenbird.model.cluster import Host
from ovenbird.model.layout import Layout
from ovenbird.plan.announcing import Announcement
from ovenbird.plan.switch import provider_bridge

NOT_SILENT = "outward.not_silent"
LASTS_S = 3
"""If this agent dies: a router that stays here after all is not heard for that long."""
COOKIE = "0x6f766f75"


class Outward:
    """The flows of one host."""

    def __init__(self, host: Host, chassis: Chassis, layout: Layout) -> None:
        self._host = host
        self._chassis = chassis
        self._layout = layout

    async def silence(self, lost: Collection[Announcement]) -> None:
        """Teach nobody anything in the name of these for `LASTS_S`. What cannot be done is logged: the move goes on."""
        by_bridge: dict[str, set[str]] = {}
        for one in lost:
            by_bridge.setdefault(provider_bridge(one.physnet), set()).update(self._flows(one))
        await try_flows(self._layout, by_bridge, NOT_SILENT)

    async def end(self, again: Collection[Announcement]) -> None:
        """Take back what `silence` did to these."""
        by_bridge: dict[str, set[str]] = {}
        for one in again:
            by_bridge.setdefault(provider_bridge(one.physnet), set()).add(f"delete cookie={COOKIE}/-1,dl_src={one.mac}")
        await try_flows(self._layout, by_bridge, NOT_SILENT)

    def _flows(self, one: Announcement) -> Iterator[str]:
        uplink = self._host.uplinks.get(one.physnet, "")
        out, patch = self._chassis.port_number(uplink), self._chassis.patch_number(one.localnet)
        own = self._chassis.port_mac(uplink)
        if out and patch and own:
            match = f"cookie={COOKIE},hard_timeout={LASTS_S},in_port={patch},dl_src={one.mac}"
            telling = "icmp6,icmp_type=136" if ":" in one.address else "arp"  # neighbor advertisement, or ARP
            yield f"add {match},priority=64001,{telling},actions=drop"
            yield f"add {match},priority=64000,actions=mod_dl_src:{own},output:{out}"
