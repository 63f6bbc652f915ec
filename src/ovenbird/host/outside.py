"""Asks the outside whether it has learnt what this gateway carries, and hears the answers.

Questions are ARP requests in a router's name to its next hop, sent together with announcements (`host/announcer.py`)
until one is answered. An answer is read on the uplink itself, before Open vSwitch has it: that it arrived at this host
is what counts. Open vSwitch forwards it all the same, and OVN takes it for what it is. The uplink is listened to only
while an answer is awaited. Must never ask in the name of an address that this host does not carry at that moment.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from ovenbird.host.announcement import question
from ovenbird.host.arp_probe import ArpSocket
from ovenbird.host.chassis import Chassis
from ovenbird.model.cluster import Host
from ovenbird.ovsdb import Replica
from ovenbird.plan.announcing import LATELY_S, Announcement
from ovenbird.plan.outside import Claims, Upstream

LEARNT = "outside.learnt"
CHANGED = "outside.not_learnt"
DEAF = "outside.uplink_not_heard"
LOOK_S = 1.0
LOST_LATELY_S = 2.0
"""Longer than hosts that send to gateways may be held (`ovenbird.host.handover`)."""

_log = logging.getLogger(__name__)


class Outside:
    """What the outside knows of this host. `told()` is for its facts."""

    def __init__(
        self, host: Host, chassis: Chassis, upstreams: Callable[[], Sequence[Upstream]], gateways: Collection[str]
    ) -> None:
        """`upstreams`: the next hops as they are now; `gateways`: all of the cluster."""
        self.sight = asyncio.Event()
        """Set when another gateway was lost, or is back; whoever waits for it clears it."""
        self._gateways = frozenset(gateways)
        self._uplinks = host.uplinks
        self._chassis = chassis
        self._upstreams = upstreams
        self._claims = Claims()
        self._ears: dict[str, ArpSocket] = {}
        self._up: set[str] = set()
        self._lost_s: dict[str, float] = {}
        """Peer -> when its BFD session went down (monotonic)."""

    @property
    def unlearnt(self) -> frozenset[str]:
        """MAC addresses carried here of which nobody outside has been heard to know."""
        return self._claims.unlearnt

    def told(self) -> dict[str, Any]:
        """Return what is known, as the facts hold it."""
        return self._claims.told(time.monotonic())

    async def run(self) -> None:
        """Watch until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._watch_sessions())
                group.create_task(self._look())
        finally:
            self._hear_only(())

    def carry(self, held: frozenset[Announcement]) -> None:
        """Note what this host carries now."""
        if self._claims.carry(held, self._lost_s, time.monotonic(), int(1000 * time.time())):
            self._chassis.news.set()

    def doubt(self) -> None:
        """Ask again for what was taken lately: whoever carried it before has only now let go of it."""
        self._claims.doubt(time.monotonic(), LATELY_S)

    def lost_gateway(self, now_s: float) -> bool:
        """Whether another gateway was lost a moment ago and is not back."""
        return any(now_s - self._lost_s[peer] <= LOST_LATELY_S for peer in self._gateways & self._lost_s.keys())

    def question(self, one: Announcement, now_s: float) -> bytes | None:
        """Return the question to send behind an announcement; `now_s` is that of the round (monotonic)."""
        upstream = self._claims.whom(one, self._upstreams(), now_s)
        if upstream is None or not self._hears(upstream.physnet):
            return None
        self._claims.asked(one, upstream, now_s)
        return question(one, upstream.address, upstream.mac)

    async def _look(self) -> None:
        while True:
            now_s = time.monotonic()
            if self._claims.look(self._upstreams(), now_s):
                _log.info(CHANGED, extra={"macs": sorted(self.unlearnt)})
                self._chassis.news.set()
            self._hear_only(self._claims.asking(now_s))
            await asyncio.sleep(LOOK_S)

    # The uplinks.

    def _hears(self, physnet: str) -> bool:
        """Listen to an uplink; False if that cannot be done: an answer would be missed."""
        if physnet in self._ears:
            return True
        try:
            ear = ArpSocket(self._uplinks[physnet])
        except OSError as error:
            _log.info(DEAF, extra={"uplink": self._uplinks[physnet], "error": error.strerror})
            return False
        self._ears[physnet] = ear
        asyncio.get_running_loop().add_reader(ear.fileno(), self._take, physnet)
        return True

    def _hear_only(self, physnets: Iterable[str]) -> None:
        for physnet in self._ears.keys() - set(physnets):
            ear = self._ears.pop(physnet)
            asyncio.get_running_loop().remove_reader(ear.fileno())
            ear.close()

    def _take(self, physnet: str) -> None:
        now_s = time.monotonic()
        try:
            replies = self._ears[physnet].replies()
        except OSError as error:  # the uplink is gone or was switched off
            _log.info(DEAF, extra={"uplink": self._uplinks[physnet], "error": error.strerror})
            self._hear_only(self._ears.keys() - {physnet})
            return
        for reply in replies:
            mac = reply.destination.hex(":")
            if self._claims.hear(mac, reply.who.address, reply.who.vlan, now_s - reply.ago_s):
                _log.info(LEARNT, extra={"mac": mac, **self._claims.told(now_s)["claims"].get(mac, {})})
                self._chassis.news.set()

    # Peers that are lost.

    async def _watch_sessions(self) -> None:
        while True:
            if (replica := self._chassis.replica) is not None:
                async for _ in replica.changes():
                    self._note_sessions(replica)
            await asyncio.sleep(LOOK_S)

    def _note_sessions(self, replica: Replica) -> None:
        interfaces = replica.table("Interface")
        up: set[str] = set()
        for port in replica.table("Port").values():
            peer = port["external_ids"].get("ovn-chassis-id", "").partition("@")[0]
            rows = [interfaces[uuid] for uuid in port["interfaces"] if uuid in interfaces] if peer else []
            if any(row["bfd_status"].get("state") == "up" for row in rows):
                up.add(peer)
        if self._gateways & (self._up ^ up):
            self.sight.set()
        for peer in self._up - up:
            self._lost_s[peer] = time.monotonic()
        for peer in up:
            self._lost_s.pop(peer, None)
        self._up = up
