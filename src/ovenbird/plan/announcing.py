"""What a gateway tells the physical network of the addresses that it carries, and when.

OVN's own announcements begin a second after a gateway has taken a router, are five in all, and end for good
(ovn-controller's pinctrl). Ours begin at once and go on slowly for as long as the gateway carries the address.

Pure. What a router has outside comes from SB, where OVN keeps it for its own announcements; whether this host carries
it is told by the caller, and nothing that it does not carry may ever be due.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address
from zlib import crc32

OFFSETS_S = (0.0, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 4.0)
"""After an address was taken."""
LATE_OFFSETS_S = (8.0, 16.0, 32.0)
"""Afterwards as well, as long as nobody outside has been heard to know."""
REFRESH_S = 60.0
"""Afterwards: a switch that was restarted, or forgot, learns again."""
REASSERTED_S = (0.3, 0.6, 1.0, 1.5, 2.0, 3.0, 4.0)
"""After another gateway was lost, or is back. One that loses all others loses them one by one, and for a moment takes
what those carry that it misses first: it announces that, and falls silent. The outside then sends to nobody."""
LATELY_S = 5.0
"""Longer than a gateway that lost an address may go on forwarding for it (`ovenbird.host.handover`)."""
_MAC = re.compile(r"([0-9a-f]{2}:){5}[0-9a-f]{2}$", re.IGNORECASE)


@dataclass(frozen=True, slots=True, order=True)
class Announcement:
    """One address, or a MAC address alone, on one provider network."""

    localnet: str
    """Logical port through which the logical network meets the physical one."""
    physnet: str
    vlan: int
    """0: untagged."""
    mac: str
    address: str
    """IPv4 or IPv6; "" to announce the MAC address alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a gateway carries."""

    those: frozenset[Announcement] = frozenset()
    is_sure: bool = False
    """Whether it is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """What matters of a row of SB's Port_Binding (ovn-sb(5))."""

    logical_port: str
    type: str
    datapath: str
    nat_addresses: frozenset[str] = frozenset()
    """Each "MAC ADDRESS... [is_chassis_resident("PORT")]", from OVN and, for IPv6, from compile."""
    physnet: str = ""
    vlan: int = 0


def announcements(bindings: Collection[Binding]) -> frozenset[Announcement]:
    """Return all that is to be announced by whoever carries it.

    A MAC address that has no IPv4 address is announced by itself as well: nobody would ask for it by ARP.
    """
    wires: dict[str, list[Binding]] = {}
    for binding in bindings:
        if binding.type == "localnet":
            wires.setdefault(binding.datapath, []).append(binding)
    found: set[Announcement] = set()
    for binding in bindings:
        for wire in wires.get(binding.datapath, ()) if binding.nat_addresses else ():
            for mac, addresses in _by_mac(binding.nat_addresses).items():
                names = addresses if any("." in address for address in addresses) else {*addresses, ""}
                found |= {Announcement(wire.logical_port, wire.physnet, wire.vlan, mac, name) for name in names}
    return frozenset(found)


def _by_mac(nat_addresses: Iterable[str]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for text in nat_addresses:
        mac, *rest = text.split()
        if _MAC.match(mac):
            found.setdefault(mac.lower(), set()).update(word for word in rest if _is_address(word))
    return found


def _is_address(word: str) -> bool:
    try:
        ip_address(word)
    except ValueError:
        return False
    return True


@dataclass(slots=True)
class _Progress:
    since_s: float
    next_s: float


@dataclass(slots=True)
class Schedule:
    """When what is due; moments are of one clock, in seconds."""

    _there: dict[Announcement, _Progress] = field(default_factory=dict)

    def want(self, carried: frozenset[Announcement], now_s: float) -> frozenset[Announcement]:
        """Announce these and no others from now on; return those that are new."""
        for gone in self._there.keys() - carried:
            del self._there[gone]
        new = carried - self._there.keys()
        for one in new:
            self._there[one] = _Progress(now_s, now_s)
        return new

    def fresh(self, now_s: float) -> frozenset[Announcement]:
        """Return what was taken lately."""
        return frozenset(one for one, progress in self._there.items() if now_s - progress.since_s <= LATELY_S)

    def repeat(self, now_s: float) -> None:
        """Begin anew with what was taken lately."""
        for progress in self._there.values():
            if now_s - progress.since_s <= LATELY_S:
                progress.since_s = progress.next_s = now_s

    def again(self, now_s: float) -> None:
        """Send everything once more now."""
        for progress in self._there.values():
            progress.next_s = min(progress.next_s, now_s)

    def due(self, now_s: float, unlearnt: Collection[str] = ()) -> list[Announcement]:
        """Return what should be sent now, the newest first; it counts as sent. `unlearnt`: MACs nobody knows yet.

        Of several times that were missed, while this process did not run, one counts.
        """
        ready = [one for one, progress in self._there.items() if progress.next_s <= now_s]
        ready.sort(key=lambda one: (-self._there[one].since_s, one))
        for one in ready:
            progress = self._there[one]
            offsets_s = OFFSETS_S + LATE_OFFSETS_S if one.mac in unlearnt else OFFSETS_S
            progress.next_s = progress.since_s + _next_offset_s(one, now_s - progress.since_s, offsets_s)
        return ready

    @property
    def next_s(self) -> float:
        """When something is due next; infinite when nothing is."""
        return min((progress.next_s for progress in self._there.values()), default=math.inf)


def _next_offset_s(one: Announcement, elapsed_s: float, offsets_s: tuple[float, ...]) -> float:
    """Return when an announcement is sent after the time that has elapsed since its address was taken."""
    later_s = elapsed_s + 1e-6  # of two moments whose difference was not exact
    for offset_s in offsets_s:
        if offset_s > later_s:
            return offset_s
    # Those that were taken together are spread over the time, in steps of a second: not all at once, nor each alone.
    first_s = OFFSETS_S[-1] + 1 + crc32(f"{one.mac} {one.address}".encode()) % int(REFRESH_S)
    return first_s + max(0, math.floor((later_s - first_s) / REFRESH_S) + 1) * REFRESH_S
