"""Cuts between nodes: nftables rules of the bridge family in the fabric, in one table that is replaced as a whole.

The table is always rendered from all active faults, so healing one is rendering it without, and healing all is
deleting it. Rules act on what a switch forwards, thus below anything that runs in a node. Each counts what it drops:
that is the proof that a cut bites. This module must never load rules outside of a fabric's network namespace.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ovenbird.lab import wiring
from ovenbird.lab.process import Process
from ovenbird.model.cluster import Database

Direction = Literal["in", "out", "both"]
Plane = Literal["control", "data", "all"]

TABLE = "ovenbird_lab"
CUTS = ("partition", "loss", "rate", "next-hop-cut")
"""Kinds of recorded faults that are cuts."""
TUNNEL_PORT = 6081
"""UDP port of Geneve (RFC 8926)."""
CONTROL_PORTS = tuple(sorted({port for item in Database for port in (item.client_port, item.raft_port)}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """What happens to packets of one plane between two groups of nodes on the underlay."""

    fault: int
    """Number of the fault it belongs to."""
    nodes: tuple[str, ...]
    peers: tuple[str, ...] = ()
    """Empty: everyone who is not in `nodes`."""
    direction: Direction = "both"
    """As `nodes` see it: `out` drops what they send, `in` what they would receive."""
    plane: Plane = "all"
    outside: bool = False
    """On the outside switch instead of the underlay's."""
    percent: float = 100.0
    """Share of the packets that is dropped, chosen at random."""
    kbit_per_s: int | None = None
    """Drop only what exceeds this rate, each way."""

    @property
    def ways(self) -> tuple[str, ...]:
        """The directions that are cut."""
        return ("out", "in") if self.direction == "both" else (self.direction,)

    def rules(self) -> list[str]:
        """Return the nftables rules, each with the comment `FAULT WAY`."""
        near = _port_set(self.nodes, outside=self.outside)
        far = _port_set(self.peers, outside=self.outside) if self.peers else f"!= {near}"
        # A switch forwards only among its own ports, so "not near" means the underlay's other ports.
        paths = {"out": f"iifname {near} oifname {far}", "in": f"iifname {far} oifname {near}"}
        return [
            f'{paths[way]} {match}{self._which}counter drop comment "{self.fault} {way}"'
            for way in self.ways
            for match in _matches(self.plane)
        ]

    @property
    def burst_bytes(self) -> int:
        """What may pass at once in spite of the rate: a tenth of a second's worth, but a few full packets at least."""
        return max(6000, (self.kbit_per_s or 0) * 125 // 10)

    @property
    def _which(self) -> str:
        if self.kbit_per_s is not None:
            return f"limit rate over {self.kbit_per_s * 125} bytes/second burst {self.burst_bytes} bytes "
        return "" if self.percent >= 100 else f"numgen random mod 10000 < {round(self.percent * 100)} "


def cuts(faults: Sequence[Mapping[str, Any]]) -> list[Cut]:
    """Return the cuts among recorded faults."""
    return [
        Cut(
            fault=item["id"],
            nodes=tuple(item["nodes"]),
            peers=tuple(item["peers"]),
            direction=item.get("direction", "both"),
            plane=item.get("plane", "all"),
            outside=item["kind"] == "next-hop-cut",
            percent=item.get("percent", 100.0),
            kbit_per_s=item.get("kbit_per_s"),
        )
        for item in faults
        if item["kind"] in CUTS
    ]


def cut_ports(faults: Sequence[Mapping[str, Any]]) -> set[str]:
    """Return the switch ports that recorded faults keep down."""
    return {item["port"] for item in faults if item["kind"] == "link-down"}


def apply(fabric: Process, faults: Sequence[Mapping[str, Any]]) -> None:
    """Make the fabric's rules those of the recorded faults, in one atomic replacement."""
    rules = [rule for cut in cuts(faults) for rule in cut.rules()]
    script = [f"add table bridge {TABLE}", f"delete table bridge {TABLE}"]
    if rules:
        chain = ["type filter hook forward priority 0; policy accept;", *rules]
        script.append(f"table bridge {TABLE} {{\n chain forward {{\n  " + "\n  ".join(chain) + "\n }\n}")
    wiring.in_network_of(fabric, ["nft", "-f", "-"], stdin="\n".join(script) + "\n").checked(subject="fabric")


def dropped(fabric: Process) -> dict[tuple[int, str], int]:
    """Return how many packets each (fault, way) has dropped since the rules were last applied."""
    answer = wiring.in_network_of(fabric, ["nft", "-j", "list", "tables"]).checked(subject="fabric")
    tables = [item["table"]["name"] for item in json.loads(answer.stdout)["nftables"] if "table" in item]
    if TABLE not in tables:
        return {}
    listing = wiring.in_network_of(fabric, ["nft", "-j", "list", "table", "bridge", TABLE]).checked(subject="fabric")
    result: dict[tuple[int, str], int] = {}
    for item in json.loads(listing.stdout)["nftables"]:
        if "rule" in item:
            number, way = item["rule"]["comment"].split()
            packets = sum(part["counter"]["packets"] for part in item["rule"]["expr"] if "counter" in part)
            result[int(number), way] = result.get((int(number), way), 0) + packets
    return result


def _matches(plane: Plane) -> tuple[str, ...]:
    ports = ", ".join(map(str, CONTROL_PORTS))
    return {
        "all": ("",),
        # Both kinds of connection: those that the far end opened, and those that the near end opened.
        "control": (f"tcp dport {{ {ports} }} ", f"tcp sport {{ {ports} }} "),
        "data": (f"udp dport {TUNNEL_PORT} ",),
    }[plane]


def _port_set(names: Sequence[str], *, outside: bool) -> str:
    ports = wiring.outside_ports if outside else wiring.underlay_ports
    return "{ " + ", ".join(f'"{port}"' for name in names for port in ports(name)) + " }"
