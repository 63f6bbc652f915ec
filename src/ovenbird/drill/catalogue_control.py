"""The drills of databases, northd, controllers and whole hosts: data only (`ovenbird.drill.catalogue`)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from ovenbird.drill.catalogue_terms import CONTROLLER, HA, PEER_LOST, VSWITCHD
from ovenbird.drill.invariants import ALWAYS
from ovenbird.drill.judge import Expect
from ovenbird.drill.script import Detector, Drill, Each, Heal, Hold, Inject, Ready, once

ELECTION_MS = 6000.0
"""Longest time without an acknowledged write over one election of each database, one after the other."""
HALF_CUT_MS = 8000.0
"""Until all have left a leader that speaks but hears nothing: what it still had to say may take 2 s to arrive; then 1 s
without a word, 1 s for a sign of life and a second until another says that it leads; and the controller that gets the
lock then may find out only now that its own connection to NB leads there, too."""
RESTART_MS = 5000.0
"""What a workload may wait while the switch of its own host starts again, with TCP's doubled time-outs."""
CONTROL_PLANE = (*ALWAYS, "east-west-lossless")
"""What must hold when only the control plane is hurt."""
SILENT_MS = 7000.0
"""A controller that falls silent is robbed 3 s after its last heartbeat; twice that, and a second to take over."""
DISK_FULL = (
    r"No space left on device",
    r"raft: (internal error: deferred append_reply|Dropped)",
    r"database\.failed",
    r"daemon\.start_failed",
)
"""What a database server and the agent beside it say while nothing can be written."""
_CONTROL = Expect(write_outage_ms=ELECTION_MS, streams={"nb": ELECTION_MS}, invariants=CONTROL_PLANE)
_NB, _SB, _CONTROLLER = (replace(_CONTROL, succeeded=(name,)) for name in ("nb", "sb", "controller"))
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

CONTROL: tuple[Drill, ...] = (
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
        expect=replace(_NB, streams={"nb": HALF_CUT_MS}),
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
        what="the active ovn-northd hangs for 15 s",
        steps=once("stop", "northd-active", hold_s=15, daemon="northd"),
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
        expect=replace(_CONTROLLER, streams={"nb": SILENT_MS}),
    ),
    _database(
        name="controller-partition",
        what="the acting controller's host is cut off for 15 s",
        steps=once("partition", "controller-leader", hold_s=15),
        expect=replace(_CONTROLLER, streams={"nb": SILENT_MS}),
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
