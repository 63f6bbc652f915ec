"""The drills of many routers, and of busy gateways; data only, as all of the catalogue (`ovenbird.drill.catalogue`)."""

from __future__ import annotations

from functools import partial

from ovenbird.drill.catalogue_terms import FEW_PER_S, PEER_LOST
from ovenbird.drill.invariants import ALWAYS
from ovenbird.drill.judge import Bite, Expect
from ovenbird.drill.script import Count, Detector, Drill, Heal, Hold, Inject, Needs, Return, once

FAILOVER_MS = 2500.0
"""Five hosts compute flows of 100 routers at the same time: 0.1 s of a processor each. On two that they share that took
0.6 to 1.2 s (`ovenbird.drill.computing` tells both). What is aimed at, 300 ms on hosts of their own, is with the other
goals of gateways (`ovenbird.drill.goals`)."""
AT_ONCE_MS = 1500.0
"""One gateway and one host of workloads compute, each on a processor of its own if there are two: 300 to 443 ms."""
RETURN_MS = 2000.0
"""A gateway that comes back takes nothing from the living: it did so for 2.3 s and more, seeing them one by one."""
TCP_MS = 4000.0
"""A TCP connection goes on with its next retransmission, whose time-out doubles while nothing comes back."""
PLANNED_MS = 250.0
"""What a planned move may cost on a machine that is busy."""
LEVEL = (*ALWAYS, "gateways-level")
_gateways = partial(
    Drill, needs=Needs(centrals=3, gateways=2, computes=2), returns=Return.HEALTHY, writes_per_s=FEW_PER_S
)


def _moved(limit_ms: float) -> dict[str, float]:
    """Return what may be lost of the streams that a failover of many routers moves."""
    tcp = dict.fromkeys(("snat-tcp", "from-outside-tcp"), TCP_MS)
    return tcp | dict.fromkeys(("snat*", "floating-ip*", "from-outside*", "router-*"), limit_ms)


def _expect(moved_ms: float) -> Expect:
    return Expect(streams=_moved(moved_ms), return_outage_ms=RETURN_MS, bite=Bite.STREAMS, moves=True, invariants=LEVEL)


_failover = partial(
    _gateways,
    steps=(Inject("power-off", "gateway-active"), Hold(6.0), Count(), Heal()),
    crowd=100,
    spacing_ms=20.0,
    detector=Detector.BFD,
    announced=PEER_LOST,
)

MANY: tuple[Drill, ...] = (
    _gateways(
        name="gateway-rebalance",
        what="one of two gateways is emptied of 50 routers, which are then spread over both again",
        steps=(
            Inject("drain", "gateway-active"),
            Hold(4.0),
            Heal(),
            Hold(3.0),  # until everybody has heard that it is drained no more
            Inject("rebalance", "gateway-standby"),
            Hold(3.0),
            Count(),
        ),
        expect=Expect(others_ms=PLANNED_MS, return_outage_ms=PLANNED_MS, invariants=LEVEL),
        crowd=50,
    ),
    _failover(
        name="gateway-many-routers",
        what="one of four gateways that carry 100 routers loses power: all move, and the others carry as many each",
        expect=_expect(FAILOVER_MS),
        needs=Needs(centrals=1, gateways=4, computes=2),
    ),
    _failover(
        name="gateway-many-at-once",
        what="one of two gateways that carry 100 routers loses power: the other one takes over 50 at once",
        expect=_expect(AT_ONCE_MS),
        needs=Needs(centrals=1, gateways=2, computes=1),
    ),
    _gateways(
        name="gateway-heal",
        what="the tunnels of one of four gateways that carry 36 routers are cut for 10 s; when they are back, one by "
        "one, it must take nothing from the living",
        steps=once("partition", "gateway-active", hold_s=10, plane="data"),
        expect=Expect(streams=_moved(FAILOVER_MS), return_outage_ms=PLANNED_MS, bite=Bite.STREAMS, moves=True),
        crowd=36,
        spacing_ms=20.0,
        needs=Needs(centrals=1, gateways=4, computes=2),
        detector=Detector.BFD,
        announced=PEER_LOST,
    ),
    _gateways(
        name="bfd-soak",
        what="every gateway's processors are busy for 20 s: BFD must not take that for a failure",
        steps=once("cpu-load", "gateways", hold_s=20, processes=2),
        expect=Expect(others_ms=PLANNED_MS, return_outage_ms=PLANNED_MS),
    ),
)
