"""The catalogue of drills. Data only: what each breaks, what must hold meanwhile, and how soon it must be over.

Limits are for the timers of a lab (BFD 200 ms x 3, election timer 1 s) on a small machine: they are bounds that a run
must keep, not the figures; the figures are what was measured (docs/figures.md).
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from ovenbird.drill.catalogue_many import MANY
from ovenbird.drill.invariants import ALWAYS
from ovenbird.drill.judge import Bite, Expect
from ovenbird.drill.script import (
    Detector,
    Drill,
    Each,
    Heal,
    Hold,
    Inject,
    Needs,
    Ready,
    Return,
    once,
)
from ovenbird.drill.sessions import BREAKING, UNFELT
from ovenbird.model.errors import UserError

VSWITCHD, CONTROLLER = "ovs-vswitchd", "ovn-controller"
FAILOVER_MS = 1500.0
ELECTION_MS = 6000.0
"""Longest time without an acknowledged write over one election of each database, one after the other."""
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
SILENCED_MS = 5000.0
"""Until a gateway that nothing reaches any more has silenced itself: SB must have been silent for 2 s, and 1 s more."""
IDLE_MS = 12_000.0
"""Until a dead gateway is replaced that only the controller can replace: its agent must have missed a sign."""
ISOLATED_MS = 3000.0
"""A gateway whose underlay is down, with its uplink up, hears neither BFD nor SB: it answers on until the link is back,
a second later, and it has been told."""
RESTART_MS = 5000.0
"""What a workload may wait while the switch of its own host starts again, with TCP's doubled time-outs."""
REHOMED = {**NORTH_SOUTH, "spread-*": REHOMED_MS, "mode-*": REHOMED_MS}
HA = Needs(centrals=3, gateways=2, computes=2)

PEER_LOST = ("no response to inactivity probe",)
"""What every daemon says of a peer that was cut off, stopped or switched off."""

CONTROL_PLANE = (*ALWAYS, "east-west-lossless")
"""What must hold when only the control plane is hurt."""
LOCK_MS = 13_000.0
"""A controller that hangs keeps its lock until the database server's own probe gives its connection up: 5 s + 5 s."""

DISK_FULL = (
    r"No space left on device",
    r"raft: (internal error: deferred append_reply|Dropped)",
    r"database\.failed",
    r"daemon\.start_failed",
)
"""What a database server and the agent beside it say while nothing can be written."""

_gateway = partial(
    Drill,
    expect=Expect(streams=NORTH_SOUTH, bite=Bite.STREAMS, moves=True, return_outage_ms=2500.0),
    needs=HA,
    detector=Detector.BFD,
    returns=Return.GATEWAY,
    has_baseline=True,
    announced=PEER_LOST,
)
_unfit = partial(
    _gateway,
    expect=Expect(streams=UNFIT, bite=Bite.STREAMS, moves=True, return_outage_ms=2500.0),
    returns=Return.HEALTHY,
    return_timeout_s=90.0,
    detector=Detector.NONE,
)
_hung = partial(Drill, expect=Expect(), needs=HA, announced=PEER_LOST)
_CONTROL = Expect(write_outage_ms=ELECTION_MS, streams={"nb": ELECTION_MS}, invariants=CONTROL_PLANE)
_NB, _SB, _CONTROLLER = (replace(_CONTROL, succeeded=(name,)) for name in ("nb", "sb", "controller"))
_gateway_router = partial(
    Drill,
    needs=HA,
    detector=Detector.BFD,
    settle_s=10.0,
    announced=PEER_LOST,
)
_database = partial(
    Drill,
    expect=_CONTROL,
    needs=HA,
    detector=Detector.ELECTION,
    announced=PEER_LOST,
)
_control_plane_gone = partial(
    Drill,
    expect=Expect(invariants=CONTROL_PLANE),
    needs=HA,
    detector=Detector.ELECTION,
    announced=PEER_LOST,
    return_timeout_s=90.0,
)

DRILLS: tuple[Drill, ...] = (
    Drill(
        name="noop",
        what="break nothing: shows what this machine does to packets by itself",
        steps=once("noop", "everything", hold_s=5.0),
        expect=Expect(write_outage_ms=1000.0),
        returns=Return.NONE,
        is_safe_live=True,
    ),
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
        expected_failure="OVN 23.03 chooses a gateway by addresses, not ports: the flows need several destinations",
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
    *MANY,
    _database(
        name="nb-leader-kill",
        expect=_NB,
        what="kill -9 of the NB leader",
        steps=once("kill", "nb-leader", daemon="nb"),
    ),
    _database(
        name="nb-leader-stop",
        expect=_NB,
        what="the NB leader is stopped for 10 s and then goes on",
        steps=once("stop", "nb-leader", hold_s=10, daemon="nb"),
    ),
    _database(
        name="nb-leader-partition",
        expect=_NB,
        what="the NB leader's host is cut off for 10 s",
        steps=once("partition", "nb-leader", hold_s=10),
    ),
    _database(
        name="nb-leader-send-only-partition",
        expect=_NB,
        what="the NB leader's host can send but hears nothing for 10 s",
        steps=once("partition", "nb-leader", hold_s=10, direction="in"),
    ),
    _database(
        name="sb-leader-kill",
        expect=_SB,
        what="kill -9 of the SB leader",
        steps=once("kill", "sb-leader", daemon="sb"),
    ),
    _database(
        name="central-minority-off",
        expect=_NB,
        what="a minority of the central hosts, the NB leader among them, loses power for 10 s",
        steps=once("power-off", "minority-centrals", hold_s=10),
    ),
    _control_plane_gone(
        name="central-all-off-10s",
        what="all central hosts are off for 10 s: east-west traffic loses nothing",
        steps=once("power-off", "centrals", hold_s=10),
    ),
    _control_plane_gone(
        name="central-all-off-60s",
        what="all central hosts are off for 60 s: east-west traffic loses nothing",
        steps=once("power-off", "centrals", hold_s=60),
    ),
    _database(
        name="northd-kill",
        what="kill -9 of the active ovn-northd",
        steps=once("kill", "northd-active", daemon="northd"),
        detector=Detector.NONE,
    ),
    _database(
        name="northd-stop",
        what="the active ovn-northd hangs for 20 s",
        steps=once("stop", "northd-active", hold_s=20, daemon="northd"),
        detector=Detector.NONE,
    ),
    _database(
        name="controller-kill",
        expect=_CONTROLLER,
        what="kill -9 of the agent that holds the controller's leadership",
        steps=once("kill", "controller-leader", hold_s=5, daemon="agent"),
        detector=Detector.NONE,
    ),
    _database(
        name="controller-stop",
        what="the acting controller hangs for 15 s and then goes on",
        steps=once("stop", "controller-leader", hold_s=15, daemon="agent"),
        detector=Detector.NONE,
        expect=replace(_CONTROLLER, streams={"nb": LOCK_MS}),
    ),
    _database(
        name="controller-partition",
        what="the acting controller's host is cut off for 15 s",
        steps=once("partition", "controller-leader", hold_s=15),
        expect=replace(_CONTROLLER, write_outage_ms=LOCK_MS, streams={"nb": LOCK_MS}),
    ),
    Drill(
        name="ovn-controller-kill",
        what="kill -9 of ovn-controller on the active gateway",
        steps=once("kill", "gateway-active", daemon=CONTROLLER),
        expect=Expect(),
        needs=HA,
    ),
    Drill(
        name="ovn-controller-restart",
        what="SIGTERM to ovn-controller on every compute host; the agent starts it again",
        steps=once("kill", "computes", daemon=CONTROLLER, signal="TERM"),
        expect=Expect(),
        needs=HA,
        is_safe_live=True,
    ),
    Drill(
        name="vswitchd-restart",
        what="ovs-vswitchd of one compute host is ended and starts again",
        steps=once("kill", "one-compute", daemon=VSWITCHD, signal="TERM"),
        expect=Expect(others_ms=RESTART_MS),
        needs=HA,
    ),
    _database(
        name="disk-full-on-leader",
        expect=_NB,
        what="the NB leader's disk is full for 10 s",
        steps=once("disk-full", "nb-leader", hold_s=10),
        announced=(*PEER_LOST, *DISK_FULL),
    ),
    _database(
        name="rolling-restart",
        what="every central host is power-cycled, one after the other",
        steps=(Each("centrals", (Inject("power-off", "it"), Hold(2.0), Heal(), Ready(60.0))),),
    ),
    Drill(
        name="everything-off-and-on",
        what="all hosts lose power and come back in random order",
        steps=(Inject("power-off", "everything"), Hold(3.0), Heal()),
        expect=Expect(others_ms=None),
        needs=HA,
        return_timeout_s=90.0,
        announced=(*PEER_LOST, "Network is down"),
    ),
)

BY_NAME: dict[str, Drill] = {drill.name: drill for drill in DRILLS}


def chosen(names: Sequence[str]) -> tuple[Drill, ...]:
    """Return the drills of these names, in the order given; "all" is every one that a lab of the usual size carries.

    Raises `UserError` for a wrong name.
    """
    found: list[Drill] = []
    for name in names:
        if name == "all":
            found += [drill for drill in DRILLS if drill.needs.gateways <= HA.gateways]
        elif name in BY_NAME:
            found.append(BY_NAME[name])
        else:
            near = difflib.get_close_matches(name, BY_NAME, n=1)
            hint = f'did you mean "{near[0]}"?' if near else "`ovenbird drill list` names them"
            raise UserError(f"there is no drill {name}", subject=name, hint=hint)
    return tuple(found)
