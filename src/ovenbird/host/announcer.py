"""Announces on the physical networks what this gateway carries: at once when it takes it, repeatedly, and for good.

OVN announces by itself, a second later; without this process everything works as with stock OVN. Frames enter the
provider bridge where routers' own packets do, so the bridge learns from them as well: ovs-vswitchd otherwise notes an
address that came back from another gateway only with its next statistics, up to half a second late, and drops what
comes in for it meanwhile. A stale announcement is worse than none: right before each sending it is made sure that this
host answers for the address at that moment.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import TYPE_CHECKING

from ovenbird.host.announcement import frame
from ovenbird.host.carried import Carried
from ovenbird.host.chassis import Chassis
from ovenbird.host.inward import Inward
from ovenbird.host.muted import Muted
from ovenbird.host.openflow import Connection
from ovenbird.host.outside import Outside
from ovenbird.host.outward import Outward
from ovenbird.host.southbound_rows import SouthboundRows
from ovenbird.model.cluster import Host
from ovenbird.model.errors import Unavailable
from ovenbird.model.layout import Layout
from ovenbird.ovsdb import Row
from ovenbird.plan.announcing import REASSERTED_S, Announcement, Binding, Held, Schedule, announcements
from ovenbird.plan.rows import ANNOUNCED6
from ovenbird.plan.switch import INTEGRATION_BRIDGE, provider_bridge

if TYPE_CHECKING:
    from ovenbird.host.routed import Routed

ANNOUNCED = "announce.taken"
UNSENT = "announce.not_sent"
AT_ONCE = 256
"""Frames sent before other work of this process gets its turn."""
RETRY_S = 0.1
SILENT_S = 2.5
"""What is still carried so long after it should have been lost is announced again."""
HANDED_OVER_S = 0.05
"""A route goes so long after others were to begin with it: they are told of this gateway's silence only then."""

_log = logging.getLogger(__name__)


class Announcer:
    """Announces what one host carries."""

    def __init__(
        self,
        host: Host,
        chassis: Chassis,
        layout: Layout,
        rows: SouthboundRows,
        trusted: Callable[[], bool],
        early: Callable[[], bool],
        outside: Outside,
        muted: Muted,
    ) -> None:
        """Take in whom to ask.

        `trusted`: whether the flows say what is carried; those of an ovn-controller that hangs do not. `early`: whether
        hosts still send to the gateway that carried before, so that answers should go there as well. `muted`: for whom
        nothing is to be said.
        """
        self._host = host
        self._chassis = chassis
        self._layout = layout
        self._rows = rows
        self._trusted = trusted
        self._is_early = early
        self._outside = outside
        self._muted = muted
        self.routed: Routed | None = None
        """Who tells of what is on physical networks that this host routes to: there are no frames to tell by."""
        self._has_read = False
        self._woken = asyncio.Event()
        self._known: frozenset[Announcement] = frozenset()
        self._schedule = Schedule()
        self._carried = Carried(layout.ovs_run / f"{INTEGRATION_BRIDGE}.mgmt", self._woken.set)
        self._bridges: dict[str, Connection] = {}
        self._inward = Inward(host, chassis, layout)
        self._led_in: frozenset[Announcement] = frozenset()
        self._outward = Outward(host, chassis, layout)
        self._silent: dict[Announcement, float] = {}
        """What others announce now -> when this gateway speaks of it again, if it still carries it (monotonic)."""

    @property
    def known(self) -> frozenset[Announcement]:
        """All that this host would announce if it carried it."""
        return frozenset(one for one in self._known if one.physnet in self._host.physnets)

    @property
    def carried(self) -> frozenset[Announcement]:
        """What this host answers for, by the flows that there are."""
        return frozenset(one for one in self.known if self._carried.holds(bytes.fromhex(one.mac.replace(":", ""))))

    def look(self) -> None:
        """See again what is carried, and announce what is new."""
        self._woken.set()

    def repeat(self) -> None:
        """Announce once more what was taken lately: only now is it this gateway's alone."""
        self._led_in = frozenset()
        self._schedule.repeat(time.monotonic())
        self._outside.doubt()
        self._woken.set()

    async def lead_in(self) -> None:
        """Have what comes for all that this host carries handed in while others announce it as well."""
        await self._inward.keep(self._held())

    async def silence(self, macs: Collection[str]) -> None:
        """Tell nobody outside of these addresses any more: another gateway does, and this one is about to lose them."""
        lost = [one for one in self._known if one.mac in macs]
        await self._outward.silence(lost)
        self._silent |= dict.fromkeys(lost, time.monotonic() + SILENT_S)
        self._woken.set()

    async def run(self) -> None:
        """Announce until cancelled."""
        await self._chassis.settled.wait()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._carried.run())
            group.create_task(self._outside.run())
            group.create_task(self._watch_addresses())
            group.create_task(self._announce())
            group.create_task(self._reassert())

    async def _watch_addresses(self) -> None:
        """Keep what is to be announced that of SB; while SB is away, what it was at last."""
        async for replica in self._rows.changes("Port_Binding"):
            known = announcements([_binding(row) for row in replica.table("Port_Binding").values()])
            self._has_read = self._has_read or replica.synced
            if known != self._known:
                gone, self._known = self._known - known, known
                self._woken.set()
                await self._inward.end(gone)

    async def _announce(self) -> None:
        while True:
            now_s = time.monotonic()
            held = self._held()
            await self._speak_again(held)
            self._outside.carry(held)
            if self.routed is not None:
                held = self._by_frames(held)
                routes = self._held() - held - self._handed_over(now_s)
                self.routed.carry(Held(those=routes, is_sure=self._has_read and self._carried.is_followed))
            new = self._schedule.want(held - self._silent.keys(), now_s)
            if new:
                _log.info(ANNOUNCED, extra={"addresses": len(new), "first": min(new).address})
            if self._schedule.next_s <= now_s:
                await self._send()
            handed_s = (
                at_s for until_s in self._silent.values() if (at_s := until_s - SILENT_S + HANDED_OVER_S) > now_s
            )
            next_s = min((self._schedule.next_s, *self._silent.values(), *handed_s))
            await self._until_woken(max(0.0, next_s - time.monotonic()))

    async def _speak_again(self, held: frozenset[Announcement]) -> None:
        """End the silence about what is lost, and about what stays here after all: others have announced that."""
        now_s = time.monotonic()
        ended = {one for one, until_s in self._silent.items() if one not in held or until_s <= now_s}
        if ended:
            await self._outward.end(ended)
            for one in ended:
                del self._silent[one]

    async def _reassert(self) -> None:
        """Announce all again whenever another gateway was lost or is back: it may have announced the same."""
        while True:
            await self._outside.sight.wait()
            began_s = time.monotonic()
            self._outside.sight.clear()
            for offset_s in REASSERTED_S:
                await asyncio.sleep(max(0.0, began_s + offset_s - time.monotonic()))
                self._schedule.again(time.monotonic())
                self._woken.set()
                if self._outside.sight.is_set():
                    break

    async def _until_woken(self, timeout_s: float) -> None:
        self._woken.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._woken.wait()

    def _held(self) -> frozenset[Announcement]:
        return frozenset(one for one in self.carried if one.mac not in self._muted.macs)

    def _handed_over(self, now_s: float) -> set[Announcement]:
        """Return what others tell by now, and this gateway goes on forwarding for a moment."""
        return {one for one, until_s in self._silent.items() if now_s >= until_s - SILENT_S + HANDED_OVER_S}

    def _by_frames(self, those: frozenset[Announcement]) -> frozenset[Announcement]:
        """Return what frames tell of: what is on physical networks that this host has an uplink to."""
        return frozenset(one for one in those if one.physnet in self._host.uplinks) if self.routed else those

    async def _send(self) -> None:
        """Send what is due, of what this host still carries at this moment."""
        if not await self._carried.refresh() or not self._trusted():
            await asyncio.sleep(RETRY_S)
            return
        now_s = time.monotonic()
        # What is taken while another gateway is lost waits for nobody: nobody else carries it.
        if self._is_early() and not self._outside.lost_gateway(now_s):
            await self._prepare()
            return
        self._schedule.want(self._by_frames(self._held()) - self._silent.keys(), now_s)
        ready = self._schedule.due(now_s, self._outside.unlearnt)
        for start in range(0, len(ready), AT_ONCE):
            if start:
                await asyncio.sleep(0)
                await self._carried.refresh()
            held = self._held() - self._silent.keys() if start else frozenset(ready)
            by_bridge: dict[str, list[tuple[int, bytes]]] = {}
            for one in ready[start : start + AT_ONCE]:
                port = self._chassis.patch_number(one.localnet)
                if port and one in held:
                    frames = by_bridge.setdefault(provider_bridge(one.physnet), [])
                    frames.append((port, frame(one)))
                    if (question := self._outside.question(one, now_s)) is not None:
                        frames.append((port, question))
            for bridge, frames in by_bridge.items():
                await self._send_to(bridge, frames)

    async def _prepare(self) -> None:
        """Be ready for what comes in as soon as it is announced; that is soon."""
        taken = self._schedule.fresh(time.monotonic())
        new, self._led_in = taken - self._led_in, taken
        await self._inward.keep(new)
        await self._until_woken(RETRY_S)

    async def _send_to(self, bridge: str, frames: list[tuple[int, bytes]]) -> None:
        # A connection of before ends with the ovs-vswitchd that it was to: a second one is tried at once.
        for is_last in (False, True):
            try:
                await (await self._connected(bridge)).send(frames)
            except (OSError, EOFError, TimeoutError, Unavailable) as error:
                if (broken := self._bridges.pop(bridge, None)) is not None:
                    await broken.__aexit__(None, None, None)
                if is_last:
                    _log.info(UNSENT, extra={"bridge": bridge, "error": str(error)})
            else:
                return

    async def _connected(self, bridge: str) -> Connection:
        if bridge not in self._bridges:
            self._bridges[bridge] = await Connection(self._layout.ovs_run / f"{bridge}.mgmt").__aenter__()
        return self._bridges[bridge]


def _binding(row: Row) -> Binding:
    tag = row["tag"]
    return Binding(
        logical_port=row["logical_port"],
        type=row["type"],
        datapath=row["datapath"],
        nat_addresses=frozenset((*row["nat_addresses"], row["external_ids"].get(ANNOUNCED6, ""))) - {""},
        physnet=row["options"].get("network_name", ""),
        vlan=tag if isinstance(tag, int) else 0,
    )
