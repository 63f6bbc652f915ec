"""What BIRD is told on a gateway that routes, and what its answers mean. Pure.

BIRD learns from one table of the kernel what this gateway carries, tells it to the neighbors, and puts their default
route into the same table. It must never learn or write a route of another table, nor tell one that is not ours.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ovenbird.model.cluster import Bfd, Bgp
from ovenbird.plan.fitness import Finding, State
from ovenbird.plan.routed import PROTOCOL, TABLE

ESTABLISHED = "Established"
_PROTOCOL_LINE, _DETAIL_LINE = "1002", "1006"
"""Codes of BIRD's answers (its doc/reply_codes)."""


@dataclass(frozen=True, slots=True)
class Session:
    """One BGP session as BIRD sees it."""

    address: str
    """Of the neighbor."""
    state: str
    """As RFC 4271, 8.2.2 calls it, or "Down" and the like when it is not tried."""
    imported: int = 0
    """Routes that were taken from the neighbor: default routes, nothing else is."""
    error: str = ""
    """Why it is not there, if BIRD says."""

    @property
    def is_up(self) -> bool:
        """Whether the neighbor hears of our routes."""
        return self.state == ESTABLISHED


def configuration(bgp: Bgp, router_id: str, tunnels: Bfd, log: str) -> str:
    """Return the configuration file; `tunnels` are the timers of BFD that hold where `bgp` has none of its own.

    A session is tried again after a second or so instead of up to two minutes: a gateway without one carries nothing.
    """
    bfd = bgp.bfd or tunnels
    timers = f"min rx interval {bfd.min_rx_ms} ms; min tx interval {bfd.min_tx_ms} ms; multiplier {bfd.mult};"
    parts = [
        "# Written by ovenbird; changes are lost.",
        f'log "{log}" {{ info, warning, error, fatal, bug, auth }};',
        f"router id {router_id};",
        "timeformat protocol iso short;",
        "protocol device {\n    scan time 5;\n}",
        "protocol kernel carried {\n"
        "    learn;\n"
        f"    kernel table {TABLE};\n"
        "    scan time 5;\n"
        "    merge paths on;\n"
        "    ipv4 {\n"
        f"        import filter {{ if krt_source = {PROTOCOL} && net != 0.0.0.0/0 then accept; reject; }};\n"
        "        export filter { if source = RTS_BGP then accept; reject; };\n"
        "    };\n}",
        f'protocol bfd {{\n    interface "*" {{ {timers} }};\n    multihop {{ {timers} }};\n}}',
        *(
            f"protocol bgp n{number} {{\n"
            f"    local as {bgp.asn};\n"
            f"    neighbor {neighbor.address} as {neighbor.asn};\n"
            "    bfd on;\n"
            "    connect delay time 1;\n"
            "    connect retry time 2;\n"
            "    error wait time 1, 4;\n"
            "    hold time 9;\n"
            "    graceful restart off;\n"
            "    ipv4 {\n"
            "        next hop self;\n"
            "        import filter { if net = 0.0.0.0/0 then accept; reject; };\n"
            '        export filter { if proto = "carried" then accept; reject; };\n'
            "    };\n}"
            for number, neighbor in enumerate(bgp.neighbors, 1)
        ),
    ]
    return "\n".join(parts) + "\n"


def read_sessions(answer: Iterable[tuple[str, str]]) -> tuple[Session, ...]:
    """Return the BGP sessions that `show protocols all` tells of: (code, text) for each line of the answer."""
    found: list[Session] = []
    name = state = address = error = ""
    imported = 0

    def close() -> None:
        if address:
            found.append(Session(address, state, imported, error))

    for code, text in answer:
        words = text.split()
        if code == _PROTOCOL_LINE:
            close()
            name, address, error, imported = "", "", "", 0
            if len(words) > 3 and words[1] == "BGP":
                # Name, protocol, table, state, since, and what BGP adds to it.
                name, state = words[0], words[5] if len(words) > 5 else words[3].capitalize()
        elif code == _DETAIL_LINE and name:
            key, _, value = text.strip().partition(":")
            match key:
                case "Neighbor address":
                    address = value.strip()
                case "Last error":
                    error = value.strip()
                case "Routes":
                    imported = int(value.split()[0])
    close()
    return tuple(found)


def uplink_finding(sessions: Iterable[Session]) -> Finding:
    """Return whether anybody upstream takes our routes and gives us one back."""
    sessions = tuple(sessions)
    if good := [each.address for each in sessions if each.is_up and each.imported]:
        return Finding(State.OK, f"BGP with {', '.join(good)}")
    return Finding(State.BAD, "; ".join(_lack(each) for each in sessions) or "BIRD knows of no neighbor")


def _lack(session: Session) -> str:
    if session.is_up:
        return f"{session.address} sends no default route"
    # Active, Connect and OpenSent follow each other while nobody answers: each would be news.
    return f"no BGP session with {session.address}" + (f" ({session.error})" if session.error else "")
