"""The upstream next hops on one physical network: asked a few times per second whether they are still there.

Must never ask faster than `TICK_S`, and asks those that do not answer only once per second.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from ovenbird.host.arp_probe import BROADCAST, ArpSocket, Target
from ovenbird.plan.fitness import Finding, State
from ovenbird.plan.probing import Probing

TICK_S = 0.15
SLOW_TICKS = 7
"""One that has not answered is asked only every so many ticks."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _NextHop:
    target: Target
    probing: Probing = field(default_factory=Probing)
    mac: bytes = BROADCAST
    asked: bool = False
    """A probe is on its way."""
    waited: int = 0
    """Ticks since the last probe."""


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
        """Return the hardware addresses of those that answer."""
        return {name: mac for name, _, mac in self.seen() if mac}

    def seen(self) -> list[tuple[str, Target, str]]:
        """Return each network with its next hop and that one's hardware address, "" while it does not answer."""
        return [
            (name, hop.target, hop.mac.hex(":") if hop.mac != BROADCAST else "") for name, hop in self._hops.items()
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

    def tick(self, *, count_silence: bool) -> dict[str, Finding]:
        """Read the answers, ask again, and return what is known. To be called every `TICK_S`."""
        if not self._hops:
            self.close()
            return {}
        try:
            self._exchange(count_silence=count_silence)
        except OSError as error:
            # The bridge is not there or was made anew: nobody could be asked, which says nothing of the next hop.
            self.close()
            return {name: Finding(State.UNKNOWN, f"{self._bridge}: {error.strerror}") for name in self._hops}
        return {name: _finding(hop) for name, hop in self._hops.items()}

    def _exchange(self, *, count_silence: bool) -> None:
        if self._socket is None:
            self._socket = ArpSocket(self._bridge)
            for hop in self._hops.values():
                hop.asked = False
        answers = dict(self._socket.answers())
        for hop in self._hops.values():
            if (mac := answers.get(hop.target)) is not None:
                hop.probing, hop.mac, hop.asked = hop.probing.heard(), mac, False
            elif hop.asked and hop.waited == 0:
                if count_silence:
                    hop.probing = hop.probing.silence()
                # Its hardware address may have changed, as when another router took over there.
                hop.mac, hop.asked = BROADCAST, False
            hop.waited += 1
            if hop.probing.state is State.OK or hop.waited >= SLOW_TICKS:
                self._socket.send(hop.target, hop.mac)
                hop.asked, hop.waited = True, 0


def _finding(hop: _NextHop) -> Finding:
    address = hop.target.address
    match hop.probing.state:
        case State.OK:
            return Finding(State.OK, address)
        case State.BAD:
            return Finding(State.BAD, f"{address} does not answer ARP")
        case _:
            return Finding(State.UNKNOWN, f"{address} has never answered ARP")
