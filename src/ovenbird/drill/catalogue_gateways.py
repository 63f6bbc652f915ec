"""The drills of gateways: data only, as all of the catalogue (`ovenbird.drill.catalogue`)."""

from __future__ import annotations

from functools import partial

from ovenbird.drill.catalogue_terms import CONTROLLER, FEW_PER_S, HA, PEER_LOST, VSWITCHD
from ovenbird.drill.judge import Bite, Expect
from ovenbird.drill.script import Detector, Drill, Heal, Hold, Inject, Needs, Return, once
from ovenbird.drill.sessions import BREAKING, UNFELT

FAILOVER_MS = 1500.0
TCP_MS = 4000.0
"""A TCP connection goes on with its next retransmission, whose time-out doubles while nothing comes back."""
NORTH_SOUTH = {
    "snat-tcp": TCP_MS,
    "from-outside-tcp": TCP_MS,
    "snat*": FAILOVER_MS,
    "floating-ip*": FAILOVER_MS,
    "from-outside*": FAILOVER_MS,
}
UNFIT_MS = 3000.0
"""Until a gateway that BFD finds well has been found unfit, and its routers have moved."""
UNFIT = {**NORTH_SOUTH, "snat*": UNFIT_MS, "floating-ip*": UNFIT_MS, "from-outside*": UNFIT_MS}
FLAPPING = {
    "snat-tcp": 6000.0,
    "from-outside-tcp": 6000.0,
    "snat*": 3000.0,
    "floating-ip*": 3000.0,
    "from-outside*": 3000.0,
}
"""A gateway that is cut off from all others draws the traffic all the same while its uplink works: for each second that
the link is down, until somebody else answers, and again when it is up."""
PLANNED_MS = 250.0
"""What a planned move may cost: two gateways' flows change one after the other, on a machine that is busy."""
REHOMED_MS = 3000.0
"""Until a majority has seen a gateway dead, and the controller has moved the gateway routers that were there."""
SPARED_MS = 250.0
"""What a flow through another gateway may wait, on a machine that is busy with the fault."""
PARTED_MS = 1500.0
"""Until one of two gateways that don't see each other has been silenced."""
SILENCED_MS = 4000.0
"""Until a gateway that nothing reaches any more has silenced itself: SB must have been silent for 2 s, and 1 s more."""
IDLE_MS = 12_000.0
"""Until a dead gateway is replaced that only the controller can replace: its agent must have missed a sign."""
ISOLATED_MS = 3000.0
"""A gateway whose underlay is down, with its uplink up, hears neither BFD nor SB: it answers on until the link is back,
a second later, and it has been told."""
REHOMED = {**NORTH_SOUTH, "spread-*": REHOMED_MS, "mode-*": REHOMED_MS}
_gateway = partial(
    Drill,
    expect=Expect(streams=NORTH_SOUTH, bite=Bite.STREAMS, moves=True, return_outage_ms=2500.0),
    needs=HA,
    detector=Detector.BFD,
    returns=Return.GATEWAY,
    has_baseline=True,
    announced=PEER_LOST,
    writes_per_s=FEW_PER_S,
)
_unfit = partial(
    _gateway,
    expect=Expect(streams=UNFIT, bite=Bite.STREAMS, moves=True, return_outage_ms=2500.0),
    returns=Return.HEALTHY,
    return_timeout_s=90.0,
    detector=Detector.NONE,
)
_hung = partial(Drill, expect=Expect(), needs=HA, announced=PEER_LOST)
_gateway_router = partial(
    Drill,
    needs=HA,
    detector=Detector.BFD,
    settle_s=10.0,
    announced=PEER_LOST,
)

GATEWAYS: tuple[Drill, ...] = (
    _gateway(
        name="gateway-crash",
        what=f"kill -9 of the active gateway's {VSWITCHD}",
        steps=once("kill", "gateway-active", daemon=VSWITCHD),
    ),
    _gateway(
        name="gateway-power-off",
        what="the active gateway loses power for 10 s",
        steps=once("power-off", "gateway-active", hold_s=10),
    ),
    _gateway(
        name="gateway-tunnel-cut",
        what="the active gateway's tunnels are cut for 10 s, its uplink stays",
        steps=once("partition", "gateway-active", hold_s=10, plane="data"),
    ),
    _gateway(
        name="gateway-isolated",
        what="the active gateway's underlay is cut for 15 s, central tier included; its uplink stays",
        steps=once("partition", "gateway-active", hold_s=15),
        overlap_ms=SILENCED_MS,
    ),
    _gateway(
        name="gateway-partition",
        what="the two gateways don't see each other for 10 s; all others see both",
        steps=once("partition", "gateway-active", hold_s=10, plane="data", peers_target="gateway-standby"),
        expect=Expect(others_ms=PLANNED_MS, return_outage_ms=PLANNED_MS),
        returns=Return.HEALTHY,
        return_timeout_s=90.0,
        overlap_ms=PARTED_MS,
    ),
    _gateway(
        name="central-off-gateway-crash",
        what="all central hosts are off; 40 s later the active gateway loses power",
        steps=(
            Inject("power-off", "centrals"),
            Hold(40.0),
            Inject("power-off", "gateway-active"),
            Hold(6.0),
            Heal(),
        ),
        expect=Expect(streams=NORTH_SOUTH, bite=Bite.STREAMS, moves=True, return_outage_ms=PLANNED_MS),
        # SB is off with the rest and never hears of the move: only ARP shows it, and nobody knows of a way home.
        returns=Return.HEALTHY,
        return_timeout_s=120.0,
        has_baseline=False,
    ),
    _gateway(
        name="gateway-pair-idle",
        what="the gateway of a router without workloads loses power for 20 s: OVN alone does not replace it",
        steps=once("power-off", "gateway-active", hold_s=20),
        is_idle=True,
        expect=Expect(streams={"from-outside": IDLE_MS}, bite=Bite.STREAMS, return_outage_ms=2500.0),
        needs=Needs(centrals=1, gateways=2),
        return_timeout_s=90.0,
    ),
    _unfit(
        name="gateway-uplink-cut",
        what="the active gateway's uplink is down for 10 s",
        steps=once("link-down", "gateway-active", hold_s=10, interface="eth1"),
    ),
    _unfit(
        name="gateway-nexthop-cut",
        what="the active gateway does not reach the upstream router for 10 s, with every link up",
        steps=once("next-hop-cut", "gateway-active", hold_s=10),
    ),
    _hung(
        name="gateway-controller-kill",
        what=f"kill -9 of {CONTROLLER} on the active gateway, while the network changes",
        steps=once("kill", "gateway-active", daemon=CONTROLLER),
    ),
    _hung(
        name="gateway-controller-stop",
        what=f"{CONTROLLER} on the active gateway hangs, while the network changes",
        steps=once("stop", "gateway-active", hold_s=10, daemon=CONTROLLER),
    ),
    _gateway(
        name="gateway-flap",
        what="the active gateway's underlay link flaps five times",
        steps=once("link-flap", "gateway-active", hold_s=10.5, interface="eth0", times=5, down_s=1.0, up_s=1.0),
        expect=Expect(streams=FLAPPING, bite=Bite.STREAMS, moves=True, return_outage_ms=ISOLATED_MS),
        returns=Return.HEALTHY,
        # Gateways that saw each other again and again for a second are held apart for longer each time.
        return_timeout_s=90.0,
        overlap_ms=ISOLATED_MS,
    ),
    _gateway(
        name="gateway-return",
        what=f"kill -9 of the active gateway's {VSWITCHD}; what counts is its way back",
        steps=once("kill", "gateway-active", daemon=VSWITCHD),
        expect=Expect(streams=NORTH_SOUTH, bite=Bite.STREAMS, moves=True, return_outage_ms=PLANNED_MS),
        has_baseline=False,
    ),
    _gateway(
        name="gateway-restart-fast",
        what=f"the active gateway's {VSWITCHD} crashes and its own monitor starts it again, sooner than BFD notices",
        steps=once("kill", "gateway-active", daemon=VSWITCHD, signal="SEGV"),
        announced=(*PEER_LOST, r"died, killed \(Segmentation fault\)"),
        returns=Return.HEALTHY,
        # The router may well stay where it is: that is the point.
        expect=Expect(streams=NORTH_SOUTH, bite=Bite.STREAMS, return_outage_ms=2500.0),
    ),
    _gateway(
        name="gateway-drain",
        what="the active gateway is drained for 5 s, and then takes its routers back",
        steps=once("drain", "gateway-active", hold_s=5),
        expect=Expect(others_ms=PLANNED_MS, return_outage_ms=PLANNED_MS, moves=True),
        detector=Detector.NONE,
        has_baseline=False,
        announced=(),
        is_safe_live=True,
    ),
    _gateway_router(
        name="gateway-router-crash",
        what=f"kill -9 of {VSWITCHD} on the gateway of a gateway router, which only the controller can move",
        steps=once("kill", "carrier-of:drill-mode", daemon=VSWITCHD),
        mode="gateway-router",
        expect=Expect(streams=REHOMED, bite=Bite.STREAMS, return_outage_ms=2500.0),
    ),
    _gateway_router(
        name="gateway-active-active",
        what=f"kill -9 of {VSWITCHD} on one of two gateways that carry one router's flows at the same time",
        steps=once("kill", "carrier-of:drill-mode_2", daemon=VSWITCHD),
        mode="active-active",
        expect=Expect(streams=REHOMED, bite=Bite.STREAMS, spared_ms=SPARED_MS, return_outage_ms=2500.0),
    ),
    _gateway(
        name="gateway-session",
        what=f"kill -9 of the active gateway's {VSWITCHD} under one long TCP connection over each way through it",
        steps=once("kill", "gateway-active", daemon=VSWITCHD),
        expect=Expect(
            streams={"distributed-*": 500.0},
            others_ms=2 * TCP_MS,
            bite=Bite.STREAMS,
            return_outage_ms=2500.0,
            moves=True,
            sessions_survive=True,
            breaking=BREAKING,
            unfelt=UNFELT,
        ),
        has_sessions=True,
    ),
)
