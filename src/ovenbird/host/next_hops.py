"""The upstream next hops on one physical network: asked a few times per second whether they are still there.

How often each is asked follows from what is known of it (`plan.probing`). Must never have more than one question on its
way to a next hop, nor ask one that answers more often than that says because of another one; nor hold against it what a
switch that is too busy to forward has kept.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from ovenbird.host.arp_probe import BROADCAST, ArpSocket, Target
from ovenbird.plan.fitness import Finding, State
from ovenbird.plan.probing import CLOSE_S, USUAL_S, Probing

EARLY_S = 0.005
"""A tick may come this much before a question is due."""


@dataclass(slots=True)
class _NextHop:
    target: Target
    probing: Probing = field(default_factory=Probing)
    mac: bytes = BROADCAST
    asked: bool = False
    """A probe is on its way."""
    due_s: float = 0.0
    """When it is asked again, and the answer to the last probe has been waited for (monotonic)."""
    sent_s: float = 0.0
    """When the last probe left (monotonic)."""


class NextHops:
    """The next hops behind one provider bridge, by the name of their network."""

    def __init__(self, bridge: str) -> None:
        self._bridge = bridge
        self._socket: ArpSocket | None = None
        self._hops: dict[str, _NextHop] = {}

    @property
    def names(self) -> frozenset[str]:
        """Networks whose next hop is asked."""
        return frozenset(self._hops)

    def macs(self) -> dict[str, str]:
        """Return the hardware addresses of those that answer ARP."""
        return {name: mac for name, _, mac in self.seen() if mac}

    def seen(self) -> list[tuple[str, Target, str]]:
        """Return each network with its IPv4 next hop and that one's hardware address, "" while it does not answer."""
        return [
            (name, hop.target, hop.mac.hex(":") if hop.mac != BROADCAST else "")
            for name, hop in self._hops.items()
            if not hop.target.is_ipv6
        ]

    def want(self, targets: Mapping[str, tuple[str, int]]) -> None:
        """Ask these from now on: network -> (address, VLAN or 0). One that stays keeps what is known of it."""
        wanted = {name: Target(*target) for name, target in targets.items()}
        self._hops = {
            name: hop if (hop := self._hops.get(name)) is not None and hop.target == target else _NextHop(target)
            for name, target in wanted.items()
        }

    def close(self) -> None:
        """Stop asking."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    @property
    def pause_s(self) -> float:
        """Time until `tick` should be called again, seconds: shorter while a next hop is in doubt."""
        return CLOSE_S if any(hop.probing.pause_s == CLOSE_S for hop in self._hops.values()) else USUAL_S

    @property
    def doubts(self) -> bool:
        """Whether one that answered does not, so far."""
        return any(hop.probing.state is State.OK and hop.probing.missed for hop in self._hops.values())

    def tick(self, *, count_silence: bool, switch_turned_s: float) -> dict[str, Finding]:
        """Read the answers, ask those that are due, and return what is known. To be called every `pause_s`.

        `switch_turned_s` is the latest moment (monotonic) of which it is known that ovs-vswitchd worked after it: once
        there is doubt, silence counts only if it did after the probe had left.
        """
        if not self._hops:
            self.close()
            return {}
        try:
            self._exchange(count_silence=count_silence, switch_turned_s=switch_turned_s)
        except OSError as error:
            # The bridge is not there or was made anew: nobody could be asked, which says nothing of the next hop.
            self.close()
            return {name: Finding(State.UNKNOWN, f"{self._bridge}: {error.strerror}") for name in self._hops}
        return {name: _finding(hop) for name, hop in self._hops.items()}

    def _exchange(self, *, count_silence: bool, switch_turned_s: float) -> None:
        ipv6 = any(hop.target.is_ipv6 for hop in self._hops.values())
        if self._socket is not None and self._socket.ipv6 != ipv6:
            self.close()
        if self._socket is None:
            self._socket = ArpSocket(self._bridge, ipv6=ipv6)
            for hop in self._hops.values():
                hop.asked = False
        answers, now_s = dict(self._socket.answers()), time.monotonic()
        for hop in self._hops.values():
            if (mac := answers.get(hop.target)) is not None:
                hop.probing, hop.mac, hop.asked = hop.probing.heard(), mac, False
            if now_s < hop.due_s - EARLY_S:
                continue
            if hop.asked:
                if count_silence and (not hop.probing.missed or switch_turned_s >= hop.sent_s):
                    hop.probing = hop.probing.silence()
                # Its hardware address may have changed, as when another router took over there.
                hop.mac = BROADCAST
            self._socket.send(hop.target, hop.mac)
            hop.asked, hop.sent_s, hop.due_s = True, now_s, now_s + hop.probing.pause_s


def _finding(hop: _NextHop) -> Finding:
    address = hop.target.address
    how = "neighbor solicitations" if hop.target.is_ipv6 else "ARP"
    match hop.probing.state:
        case State.OK:
            return Finding(State.OK, address)
        case State.BAD:
            return Finding(State.BAD, f"{address} does not answer {how}")
        case _:
            return Finding(State.UNKNOWN, f"{address} has never answered {how}")
