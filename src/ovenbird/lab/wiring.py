"""The lab's cables and switches: Linux bridges in the fabric's network namespace, and a veth pair for every leg.

Pairs are created straight into the namespaces of both ends, so that nothing of a lab is ever visible in the host's own
network namespace. A cable's switch end is named after the node: `u-NODE` on the underlay, `x-NODE` on the outside
switch. A gateway's routed leg is a switch of two ports, `r-NODE` and the outside host's `o-NODE`.
This module must never name a link in the host's network namespace.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ovenbird.lab import command
from ovenbird.lab.process import Process
from ovenbird.lab.spec import LEG_INTERFACE, OUTSIDE, Leg
from ovenbird.model.errors import OvenbirdError

UNDERLAY_SWITCH = "underlay"
OUTSIDE_SWITCH = "outside"
_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cable:
    """One leg of a node: an interface in the node and a port of a switch."""

    node: str
    interface: str
    switch: str
    mtu: int = 1500
    end: str = ""
    """Name of the switch's end, where it does not follow from the switch."""

    @property
    def port(self) -> str:
        """Name of the switch's end."""
        return self.end or f"{'u' if self.switch == UNDERLAY_SWITCH else 'x'}-{self.node}"

    @property
    def mac(self) -> str:
        """The node's hardware address: the same after each power cycle, as a network card's is."""
        digest = hashlib.sha256(f"{self.node} {self.interface}".encode()).digest()
        return ":".join(f"{octet:02x}" for octet in (0x02, *digest[:5]))  # 02: locally administered, unicast


def leg_cables(leg: Leg) -> tuple[Cable, Cable]:
    """Return the gateway's and the outside host's end of a routed leg.

    A switch lies between them, as in most machine rooms: when one end loses its carrier, the other one does not see it.
    """
    switch = leg_switch(leg)
    return (
        Cable(node=leg.node, interface=LEG_INTERFACE, switch=switch, end=f"r-{leg.node}"),
        Cable(node=OUTSIDE, interface=leg.interface, switch=switch, end=f"o-{leg.node}"),
    )


def leg_switch(leg: Leg) -> str:
    """Return the name of the switch of a routed leg."""
    return f"s-{leg.node}"


def in_network_of(init: Process, argv: Sequence[str], *, stdin: str = "") -> command.Completed:
    """Run a command of the host in a node's network namespace only."""
    return command.run(["nsenter", "-t", str(init.pid), "-n", *argv], timeout_s=_TIMEOUT_S, stdin=stdin)


def build_switches(fabric: Process, legs: Iterable[Leg]) -> None:
    """Make the switches in a fresh fabric namespace: underlay, outside, and one for each routed leg."""
    batch = ["link set lo up"]
    for switch in (UNDERLAY_SWITCH, OUTSIDE_SWITCH, *map(leg_switch, legs)):
        batch.append(f"link add {switch} type bridge forward_delay 0 mcast_snooping 0 stp_state 0")
        batch.append(f"link set {switch} mtu 9216 up")
    # A switch has no addresses of its own and filters nothing; the fabric's IPv6 would only add noise to the wire.
    settings = (
        "for key in net/ipv6/conf/all/disable_ipv6 net/ipv6/conf/default/disable_ipv6; do"
        " [ ! -e /proc/sys/$key ] || echo 1 > /proc/sys/$key; done;"
        " for key in arptables iptables ip6tables; do file=/proc/sys/net/bridge/bridge-nf-call-$key;"
        " [ ! -e $file ] || echo 0 > $file; done; exec ip -batch -"
    )
    in_network_of(fabric, ["sh", "-c", settings], stdin=_lines(batch)).checked(subject="fabric")


def plug(fabric: Process, cables: Iterable[tuple[Cable, Process]]) -> None:
    """Lay cables from the fabric to the nodes' network namespaces; the nodes' ends stay down."""
    ends = list(cables)
    batch = []
    for cable, init in ends:
        batch.append(
            f"link add {cable.port} mtu {cable.mtu} type veth"
            f" peer name {cable.interface} mtu {cable.mtu} address {cable.mac} netns {init.pid}"
        )
        batch.append(f"link set {cable.port} master {cable.switch} up")
    if batch:
        in_network_of(fabric, ["sh", "-c", _script([cable.port for cable, _ in ends])], stdin=_lines(batch)).checked()


def unplug(fabric: Process, cables: Iterable[Cable]) -> None:
    """Remove cables; one that is not there is no error (a dead node's namespace takes its ends along)."""
    batch = [f"link del {cable.port}" for cable in cables]
    if batch:
        in_network_of(fabric, ["ip", "-force", "-batch", "-"], stdin=_lines(batch))


def configure(init: Process, interfaces: Sequence[tuple[str, Sequence[str]]]) -> None:
    """Bring up loopback and the given interfaces of a node, each with its addresses (`10.99.0.1/24`)."""
    batch = ["link set lo up"]
    for interface, addresses in interfaces:
        batch.append(f"link set {interface} up")
        batch.extend(address_line(address, interface) for address in addresses)
    in_network_of(init, ["sh", "-c", _script([name for name, _ in interfaces])], stdin=_lines(batch)).checked()


def address_line(address: str, interface: str) -> str:
    """Return the line for `ip -batch` that adds an address; an IPv6 one is used at once, nobody else has it."""
    return f"addr add {address} dev {interface}" + (" nodad" if ":" in address else "")


def set_port(fabric: Process, port: str, *, up: bool) -> None:
    """Switch a port of the fabric on or off: the node's end loses or gets its carrier."""
    in_network_of(fabric, ["ip", "link", "set", port, "up" if up else "down"]).checked(subject=port)


def ports(fabric: Process) -> dict[str, bool]:
    """Return the switches' ports and whether each is administratively up."""
    answer = in_network_of(fabric, ["ip", "-o", "link", "show", "type", "veth"]).checked(subject="fabric")
    result = {}
    for line in answer.stdout.splitlines():
        fields = line.split()
        if len(fields) < 3:
            raise OvenbirdError("cannot read `ip -o link`", evidence=line)
        result[fields[1].rstrip(":").partition("@")[0]] = "UP" in fields[2].strip("<>").split(",")
    return result


def underlay_ports(node: str) -> tuple[str, str]:
    """Return the underlay switch's port of a node, and the one that stands for it while its cable is held up."""
    port = Cable(node=node, interface="", switch=UNDERLAY_SWITCH).port
    return port, f"d{port}"


def outside_ports(node: str) -> tuple[str]:
    """Return the outside switch's port of a node."""
    return (Cable(node=node, interface="", switch=OUTSIDE_SWITCH).port,)


def hold_up(fabric: Process, cable: Cable) -> tuple[str, str]:
    """Take a cable's port out of its switch and put another in its place; safe to repeat.

    Returns two interfaces of the fabric: whoever copies frames between them joins the node to the switch again.
    """
    port, (inner, outer) = cable.port, (f"d{cable.port}", f"r{cable.port}")
    in_network_of(fabric, ["ip", "-force", "-batch", "-"], stdin=f"link del {inner}\n")
    batch = [
        f"link add {inner} mtu {cable.mtu} type veth peer name {outer} mtu {cable.mtu}",
        f"link set {inner} master {cable.switch} up",
        f"link set {outer} up",
        f"link set {port} nomaster",
    ]
    in_network_of(fabric, ["ip", "-batch", "-"], stdin=_lines(batch)).checked(subject=cable.node)
    return port, outer


def let_go(fabric: Process, cable: Cable) -> None:
    """Undo `hold_up`, however much of it was done."""
    batch = [f"link set {cable.port} master {cable.switch}", f"link del d{cable.port}"]
    in_network_of(fabric, ["ip", "-force", "-batch", "-"], stdin=_lines(batch))


def _script(interfaces: Sequence[str]) -> str:
    """Return a shell script that feeds its stdin to `ip -batch` and then turns off checksum offload.

    The userspace datapath reads packets from a raw socket: a checksum left to "hardware" would never be filled in.
    """
    return " && ".join(["ip -batch -", *(f"ethtool -K {name} tx off >/dev/null" for name in interfaces)])


def _lines(batch: Sequence[str]) -> str:
    return "\n".join(batch) + "\n"
