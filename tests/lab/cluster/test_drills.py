"""Drills on a whole cluster: figures from real packets; a run that proves nothing, and one that was killed."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
from tests.faces.command import PROGRAM, Done
from tests.lab.cluster.site import DECLARED, DUAL_PUBLIC, Site
from tests.waiting import eventually_sync

from ovenbird.drill import fault, runner
from ovenbird.drill.catalogue import BY_NAME
from ovenbird.drill.judge import Outcome, judge
from ovenbird.drill.sessions import BREAKING
from ovenbird.lab import faults
from ovenbird.lab.faults.daemons import Kill

TRIES = 3
"""A run on a machine that is too busy is invalid: it says so and is run again."""


def drill_objects(site: Site) -> list[str]:
    return [item["name"] for item in site.api.get("/v1/objects")["objects"] if item["name"].startswith("drill-")]


SLOW = re.compile(r"an outage of \d+ ms, the limit is|both answered for \S+ for \d{1,4} ms")
"""What a run on a slow machine may fail by: a limit of time. Drills, not tests, hold the figures."""


def drilled(site: Site, name: str, reports: Path) -> Done:
    """Run a drill, again while it proves nothing; it must not fail but by a limit of time."""
    for _attempt in range(TRIES):
        words = ("drill", "run", name, "-o", "json", "--retries", "0", "--reports", str(reports))
        done = site.cli(*words, timeout_s=240)
        if done.json["outcome"] != "invalid":
            break
    found = done.json
    late = [reason for reason in found["reasons"] if SLOW.search(reason)]
    assert found["outcome"] in ("pass", "fail"), found["reasons"]
    assert late == found["reasons"]
    assert done.status == (1 if late else 0)
    return done


def test_gateway_crash_gives_the_outage_that_workloads_saw(breakable: Site, tmp_path: Path) -> None:
    breakable.apply(DUAL_PUBLIC)
    try:
        found = drilled(breakable, "gateway-crash", tmp_path).json
    finally:
        breakable.apply(DECLARED)
    assert found["name"] == "gateway-crash"
    assert found["detect_limit_ms"] >= 600, "three times 200 ms, and slower while a host is too busy for that"
    assert 200 < found["outage_ms"] < 20_000
    assert 0 <= found["return_outage_ms"] < 20_000
    for felt in ("snat", "snat-ipv6", "from-outside-ipv6"):
        assert found["streams"]["distributed"]["outage_ms"] < found["streams"][felt]["outage_ms"]
    kinds = [moment["kind"] for moment in found["timeline"]]
    assert {"fault.injected", "fault.verified", "gateway.claimed", "arp.answered"} <= set(kinds)
    assert (Path(found["report"]) / "index.html").stat().st_size > 10_000
    assert drill_objects(breakable) == []


def test_long_connections_survive_a_gateway_on_every_way_that_is_stated(breakable: Site, tmp_path: Path) -> None:
    found = drilled(breakable, "gateway-session", tmp_path).json
    ways = ("snat", "floating-ip", "floating-ip-in", "stateless", "stateless-in", "distributed", "plain", "plain-in")
    names = {f"{way}-{kind}" for way in ways for kind in ("tcp", "download")}
    assert set(found["streams"]) == names | BREAKING
    assert {name: one["breaks"] for name, one in found["streams"].items() if name not in BREAKING} == dict.fromkeys(
        names - BREAKING, 0
    )
    print({name: (one["outage_ms"], one["breaks"]) for name, one in found["streams"].items()})  # noqa: T201
    stalled = found["streams"]["snat-download"]
    # What comes from outside finds no translation, and the workload has nothing to say by itself.
    assert max(stalled["outage_ms"], stalled["return_outage_ms"]) > found["outage_ms"]
    assert drill_objects(breakable) == []
    assert "10.213" not in breakable.outside.run(["ip", "route"]).stdout


def test_gateway_drain_leaves_nothing_drained(breakable: Site, tmp_path: Path) -> None:
    found = drilled(breakable, "gateway-drain", tmp_path).json
    print({name: found[name] for name in ("outage_ms", "return_outage_ms", "noise_ms")})  # noqa: T201
    assert [event["what"] for event in found["timeline"] if event["kind"] == "fault.verified"]
    assert not [one for one in breakable.api.get("/v1/gateways")["gateways"] if one["drained"]]


class Harmless(Kill):
    """A planted bug: a fault that does nothing."""

    def act(self) -> None:
        """Leave the daemon alone."""


def test_a_runner_whose_fault_does_not_bite_proves_nothing(breakable: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fault, "FAULTS", {**fault.FAULTS, "kill": Harmless})
    drill = dataclasses.replace(BY_NAME["gateway-crash"], returns=BY_NAME["noop"].returns, settle_s=0.5)
    record = asyncio.run(runner.run(breakable.lab, drill, progress=lambda _line: None))
    verdict = judge(record, drill.expect)
    assert verdict.outcome is Outcome.INVALID
    assert any("could not verify" in reason for reason in verdict.reasons)
    assert verdict.figures.outage_ms is None


def test_what_a_killed_runner_left_is_healed(breakable: Site, tmp_path: Path) -> None:
    command = [*PROGRAM, "--lab", breakable.lab.name, "drill", "run", "gateway-tunnel-cut", "--reports", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True) as running:
        eventually_sync(lambda: faults.active(breakable.lab), within_s=180)
        os.killpg(running.pid, signal.SIGKILL)
    assert drill_objects(breakable)
    assert breakable.cli("drill", "heal").status == 0
    assert faults.active(breakable.lab) == []
    assert drill_objects(breakable) == []
    breakable.settled()


def test_a_drill_that_the_lab_cannot_carry_is_refused(site: Site) -> None:
    done = site.cli("drill", "run", "controller-kill", "--baseline")
    assert done.status == 3
    assert "no baseline" in done.err
    done = site.cli("drill", "run", "gateway-crush")
    assert done.status == 2
    assert "gateway-crash" in done.err
