"""Has the outside learnt that this gateway carries an address? What is asked, and what follows from the answers.

An announcement tells, and nobody answers it. So the upstream next hop is asked by ARP in the router's name (its address
and MAC as the sender) until an answer arrives at *this* host: then the next hop knows the router's MAC address, and the
switches between know that it is here. Every ARP implementation answers such a question, and learns from it (RFC 826).

Pure: times come in, nothing is sent. A next hop that answers nobody, or that never answered such a question, proves
nothing by its silence.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import ip_address, ip_network
from typing import Any

from ovenbird.plan.announcing import Announcement

PATIENCE_S = 5.0
"""Without an answer for so long, all early announcements included, something is wrong."""
TOLD_S = 120.0
"""How long an answered question, or a MAC address that was let go, is told: who writes the history has read it then."""
LOST_S = 10.0
"""A peer that was lost longer ago has nothing to do with a claim."""


class Learnt(Enum):
    """What is known of one MAC address that this host carries."""

    WAITING = "waiting"
    ANSWERED = "answered"
    SILENT = "silent"
    """The next hop answers, only not to this address: what is sent to it does not come here."""
    UNKNOWN = "unknown"
    """Nobody can be asked, or the next hop answers no such question at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """The next hop of an ExternalNetwork."""

    physnet: str
    vlan: int
    """0: untagged."""
    address: str
    cidr: str
    """Of the network: only an address of it is asked for, others are routed and might be refused."""
    mac: str
    """"" while it does not answer."""

    def serves(self, one: Announcement) -> bool:
        """Whether an address is on its network."""
        if (one.physnet, one.vlan) != (self.physnet, self.vlan) or "." not in one.address:
            return False
        return ip_address(one.address) in ip_network(self.cidr, strict=False)


@dataclass(slots=True)
class Claim:
    """One MAC address that this host has taken."""

    taken_s: float
    taken_ms: int
    """Unix milliseconds."""
    lost: Mapping[str, int]
    """Peer whose BFD session went down just before -> how many milliseconds before."""
    address: str = ""
    """That the next hop was asked for."""
    upstream: Upstream | None = None
    """Who was asked."""
    asked_s: float | None = None
    answered_s: float | None = None
    """The first time."""
    doubted_s: float | None = None
    """Since when it must be asked again: who carried it before has only then let go."""
    learnt: Learnt = Learnt.WAITING

    @property
    def is_open(self) -> bool:
        """Whether an answer is wanted."""
        return self.answered_s is None or self.doubted_s is not None

    @property
    def open_since_s(self) -> float:
        """Since when."""
        return self.taken_s if self.doubted_s is None else self.doubted_s

    def to_json(self) -> dict[str, Any]:
        """Return it as the facts hold it."""
        told: dict[str, Any] = {"address": self.address, "taken_ms": self.taken_ms, "state": self.learnt.value}
        told["next_hop"] = self.upstream.address if self.upstream is not None else ""
        if self.answered_s is not None:
            # The wall clock, by which the kernel notes arrivals, may have been set meanwhile.
            told["answered_ms"] = max(0, round(1000 * (self.answered_s - self.taken_s)))
        if self.lost:
            told["lost"] = dict(self.lost)
        return told


@dataclass(slots=True)
class Claims:
    """What this host carries, by MAC address. Moments are of one clock, in seconds; `*_ms` is unix time."""

    _there: dict[str, Claim] = field(default_factory=dict)
    _released: dict[str, tuple[float, int]] = field(default_factory=dict)
    """MAC address -> when it was let go: by the clock, and unix milliseconds."""
    _proven: set[str] = field(default_factory=set)
    """Next hops that have answered such a question."""

    def carry(self, held: Collection[Announcement], lost: Mapping[str, float], now_s: float, now_ms: int) -> bool:
        """Note what is carried now; `lost`: peer -> when its session went down. Returns whether anything changed."""
        macs = {one.mac for one in held}
        gone, new = self._there.keys() - macs, macs - self._there.keys()
        for mac in gone:
            del self._there[mac]
            self._released[mac] = (now_s, now_ms)
        before = {peer: round(1000 * (now_s - at_s)) for peer, at_s in lost.items() if now_s - at_s < LOST_S}
        for mac in new:
            self._released.pop(mac, None)
            self._there[mac] = Claim(now_s, now_ms, before)
        return bool(gone or new)

    @property
    def unlearnt(self) -> frozenset[str]:
        """MAC addresses of which nobody outside has been heard to know."""
        return frozenset(mac for mac, claim in self._there.items() if claim.is_open)

    def doubt(self, now_s: float, lately_s: float) -> None:
        """Ask again for what was taken lately: an answer of who carried it before may have turned a switch back."""
        for claim in self._there.values():
            if now_s - claim.taken_s <= lately_s:
                claim.doubted_s = now_s

    def asking(self, now_s: float) -> frozenset[str]:
        """Return the physical networks from which an answer may still come."""
        return frozenset(
            claim.upstream.physnet
            for claim in self._there.values()
            if claim.upstream is not None
            and claim.asked_s is not None
            and claim.is_open
            and now_s - claim.asked_s < PATIENCE_S
        )

    def whom(self, one: Announcement, upstreams: Iterable[Upstream], now_s: float) -> Upstream | None:
        """Return who should be asked together with an announcement; None when nobody should.

        Each MAC address is asked for once in a moment, whatever the number of its addresses.
        """
        claim = self._there.get(one.mac)
        if claim is None or not claim.is_open or claim.asked_s == now_s:
            return None
        return next((each for each in upstreams if each.mac and each.serves(one)), None)

    def asked(self, one: Announcement, upstream: Upstream, now_s: float) -> None:
        """Note that somebody is asked."""
        claim = self._there[one.mac]
        claim.upstream, claim.address, claim.asked_s = upstream, one.address, now_s

    def hear(self, mac: str, next_hop: str, vlan: int, now_s: float) -> bool:
        """Note an answer to a MAC address of ours. Returns whether it was the one that was awaited."""
        claim = self._there.get(mac)
        if claim is None or not claim.is_open or claim.upstream is None or claim.asked_s is None:
            return False
        if (claim.upstream.address, claim.upstream.vlan) != (next_hop, vlan):
            return False
        if claim.asked_s < claim.open_since_s:
            return False  # the answer to a question of before
        claim.answered_s = now_s if claim.answered_s is None else claim.answered_s
        claim.doubted_s, claim.learnt = None, Learnt.ANSWERED
        self._proven.add(next_hop)
        return True

    def look(self, upstreams: Collection[Upstream], now_s: float) -> bool:
        """Judge what was not answered, and forget what is old. Returns whether anything changed."""
        changed = False
        alive = {each.address for each in upstreams if each.mac}
        for claim in self._there.values():
            if claim.is_open and now_s - claim.open_since_s >= PATIENCE_S:
                asked = claim.upstream.address if claim.upstream is not None else ""
                found = Learnt.SILENT if asked in alive & self._proven else Learnt.UNKNOWN
                changed |= claim.learnt is not found
                claim.learnt = found
        old = [mac for mac, (at_s, _) in self._released.items() if now_s - at_s > TOLD_S]
        for mac in old:
            del self._released[mac]
        return changed or bool(old)

    def told(self, now_s: float) -> dict[str, Any]:
        """Return it as the facts hold it (docs/architecture.md, "Facts of a host")."""
        claims = {
            mac: claim.to_json()
            for mac, claim in sorted(self._there.items())
            if claim.learnt is Learnt.SILENT or now_s - claim.taken_s < TOLD_S
        }
        return {"claims": claims, "released": {mac: at_ms for mac, (_, at_ms) in sorted(self._released.items())}}
