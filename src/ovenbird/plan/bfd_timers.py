"""How fast BFD may be on hosts as busy as they are, and whether a lost session was a busy host's or the network's.

A BFD packet that ovs-vswitchd sends or reads too late looks like a lost one. Each host's agent measures how long
ovs-vswitchd's threads had to wait for a processor, within a fifth of a second; the policy's interval is raised until
that is no more than the detection time, and no more than half of it if a session flapped meanwhile; at most fourfold.
A virtual machine's processors may also be taken away by its own host: that counts once a session has flapped by it, as
it need not have met ovs-vswitchd. Values that the operator has fixed are kept. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ovenbird.model.cluster import Bfd, Cluster

INTERVALS_MS = (50, 100, 200, 500)
"""A policy's own is where it begins."""
SLOWEST = 4
"""Times the policy's own interval: who asks for a fast failover rather has a false alarm than a slow one."""
WAITS_MS = (0, 25, 50, 75, 150, 300, 750)
"""Waits are told in these classes, rounded up: what is told must not change at every look."""
LATELY_S = 600.0
"""A flap is warned of for so long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flap:
    """A BFD session that went down and came back, as one end saw it."""

    peer: str
    at_s: float
    """Unix seconds."""
    waited_ms: int
    """Longest wait of ovs-vswitchd for a processor just before; a class."""
    stolen_ms: int = 0
    """Longest time just before in which the host's own host, a hypervisor, kept a processor from it; a class."""

    @property
    def late_ms(self) -> int:
        """How late BFD may have been for either reason."""
        return max(self.waited_ms, self.stolen_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Strain:
    """How busy a host is, by its agent."""

    host: str
    waited_ms: int = 0
    """Longest wait lately; a class."""
    flaps: tuple[Flap, ...] = ()


def wait_class(waited_ms: float) -> int:
    """Return the class of a wait; the last one has no upper bound."""
    return next((least for least in WAITS_MS if waited_ms <= least), WAITS_MS[-1])


def bfd_timers(cluster: Cluster, strains: Iterable[Strain], now_s: float) -> Bfd:
    """Return the timers that all tunnels should have now (unix seconds)."""
    base = cluster.bfd
    if cluster.own_bfd is not None:
        return base
    worst_ms = max((_needed_ms(strain, now_s) for strain in strains), default=0)
    for interval_ms in (
        base.min_rx_ms,
        *(step for step in INTERVALS_MS if base.min_rx_ms < step <= SLOWEST * base.min_rx_ms),
    ):
        timers = Bfd(min_rx_ms=interval_ms, min_tx_ms=interval_ms, mult=base.mult)
        if timers.detect_ms >= worst_ms:
            break
    return timers


def _needed_ms(strain: Strain, now_s: float) -> int:
    """Return the least detection time at which a host as busy as this one gives no false alarm."""
    return max([strain.waited_ms, *(2 * flap.late_ms for flap in strain.flaps if now_s - flap.at_s <= LATELY_S)])


def warnings(cluster: Cluster, strains: Iterable[Strain], now_s: float) -> Iterator[str]:
    """Yield what an operator should know: slowed timers, and sessions that flapped because a host was busy."""
    known = sorted(strains, key=lambda strain: strain.host)
    timers = bfd_timers(cluster, known, now_s)
    if timers != cluster.bfd:
        busy = max(known, key=lambda strain: _needed_ms(strain, now_s))
        yield (
            f"BFD notices a lost gateway after {timers.detect_ms} ms instead of {cluster.bfd.detect_ms}: "
            + _why_slow(busy, now_s)
        )
    for strain in known:
        flaps = [flap for flap in strain.flaps if now_s - flap.at_s <= LATELY_S]
        late = [flap for flap in flaps if 2 * flap.late_ms >= cluster.bfd.detect_ms]
        if late:
            peers = ", ".join(sorted({flap.peer for flap in late}))
            yield f"BFD of {strain.host} with {peers} flapped {len(late)} times while {_why_late(late)}"


def _why_slow(busy: Strain, now_s: float) -> str:
    stolen_ms = max((flap.stolen_ms for flap in busy.flaps if now_s - flap.at_s <= LATELY_S), default=0)
    if 2 * stolen_ms < _needed_ms(busy, now_s):
        return f"{busy.host} is so busy that ovs-vswitchd there waits for a processor"
    return f"{busy.host}'s own host (a hypervisor) kept a processor from it for up to {stolen_ms} ms, and BFD flapped"


def _why_late(flaps: Sequence[Flap]) -> str:
    worst = max(flaps, key=lambda flap: flap.late_ms)
    if worst.stolen_ms > worst.waited_ms:
        stolen_ms = worst.stolen_ms
        return f"its own host (a hypervisor) kept a processor from it for up to {stolen_ms} ms: not the network's fault"
    waited_ms = worst.waited_ms
    return f"ovs-vswitchd there waited up to {waited_ms} ms for a processor: the host is busy, not the network"
