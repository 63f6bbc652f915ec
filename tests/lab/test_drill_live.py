"""Safe drills on a live cluster: a lab's node in the part of a real host, told nothing of being in a lab."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from tests.faces.command import PROGRAM
from tests.lab.conftest import unique_name
from tests.waiting import eventually_sync

from ovenbird.api.client import Client
from ovenbird.lab.lab import Lab, remove
from ovenbird.lab.node import Node
from ovenbird.lab.process import by_inner_pid
from ovenbird.lab.readiness import wait_ready
from ovenbird.lab.spec import from_yaml

pytestmark = pytest.mark.lab

LAB_FILE = """
outside: [{address: 172.16.0.254/24}]
nodes:
  - {name: a1, roles: [central, gateway, compute]}
  - {name: a2, roles: [gateway, compute]}
"""
DECLARED = """
kind: ExternalNetwork
name: public
spec: {physnet: ext, cidr: 172.16.0.0/24, gateway: 172.16.0.254, pool: [172.16.0.100-172.16.0.199]}
---
kind: Router
name: r1
spec: {external: {network: public, address: 172.16.0.1}, gateways: {failback_delay_s: 2}}
---
kind: Network
name: blue
spec: {cidr: 192.168.1.0/24, router: r1}
---
kind: Port
name: vm1
spec: {network: blue, address: 192.168.1.11}
---
kind: Port
name: vm2
spec: {network: blue, address: 192.168.1.12}
"""
REPORTS = "/tmp/reports"
TRIES = 3
"""A run on a machine that is too busy is invalid, or fails by its limits: it says so and is run again."""


@dataclass
class Live:
    lab: Lab
    host: Node
    api: Client

    def drill(self, *words: str) -> tuple[int, dict[str, Any], str]:
        """Run `ovenbird drill` on the host; return exit code, what it printed as JSON, and stderr."""
        done = self.host.run([*PROGRAM, "drill", *words], timeout_s=150)
        return done.status, json.loads(done.stdout or "{}"), done.stderr

    def measured(self, *words: str) -> dict[str, Any]:
        """Run a drill until a run passes; return what it measured."""
        return self.run(*words, until=(0,))

    def run(self, *words: str, until: tuple[int, ...]) -> dict[str, Any]:
        """Run a drill on a healthy cluster until it ends with one of these exit codes; return what it measured."""
        for _attempt in range(TRIES):
            eventually_sync(lambda: self.api.get("/v1/status")["verdict"] == "healthy", within_s=120)
            status, data, said = self.drill("run", *words, "--live", "--reports", REPORTS, "-o", "json")
            if status in until:
                return data
        raise AssertionError((status, data, said))

    def declared(self) -> Any:
        """Everything that is declared or attached."""
        return self.api.get("/v1/objects"), self.api.get("/v1/attachments")

    def gateway(self, name: str) -> dict[str, Any]:
        return next(one for one in self.api.get("/v1/gateways")["gateways"] if one["name"] == name)


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    name = unique_name()
    try:
        lab = Lab.create(from_yaml(LAB_FILE, name=name))
        wait_ready(lab, timeout_s=180, progress=lambda _line: None)
        api = Client(lab.central_sockets())
        api.post("/v1/apply", {"documents": [{"file": "test", "text": DECLARED}], "dry_run": False})
        for port, node in (("vm1", "a1"), ("vm2", "a2")):
            spec = {"type": "namespace", "address": "static"}
            api.post("/v1/attachments", {"port": port, "node": node, "spec": spec})

        def attached() -> bool:
            told = api.get("/v1/attachments")["attachments"]
            return [(one["status"] or {}).get("state") for one in told] == ["attached", "attached"]

        eventually_sync(attached, within_s=120)
        eventually_sync(lambda: api.get("/v1/status")["verdict"] == "healthy", within_s=120)
        eventually_sync(lambda: api.get("/v1/gateways")["routers"][0]["active"], within_s=120)
        yield Live(lab, lab.node("a1"), api)
    finally:
        remove(name)


def test_noop_measures_what_this_hosts_workloads_reach_and_changes_nothing(live: Live) -> None:
    before = live.declared()
    found = live.measured("noop")
    assert found["streams"].keys() == {"vm1-outside", "vm1-vm2"}
    assert all(one["sent"] > 500 for one in found["streams"].values())
    assert found["outage_ms"] > 0
    assert live.declared() == before


def test_ovn_controller_is_restarted_and_no_packet_waits_for_it(live: Live) -> None:
    before = live.host.daemon("ovn-controller")
    found = live.measured("ovn-controller-restart", "--stream", "vm1=192.168.1.12")
    assert found["streams"].keys() == {"vm1-192.168.1.12"}
    assert found["back_in_service_ms"] > 0
    assert live.host.daemon("ovn-controller") != before


def test_a_gateway_is_drained_and_carries_again_what_it_carried(live: Live) -> None:
    carrier = live.api.get("/v1/gateways")["routers"][0]["active"]
    found = live.run("gateway-drain", until=(0, 1))
    moved = [moment["what"] for moment in found["timeline"] if moment["kind"] == "gateway.claimed"]
    assert moved[0] == moved[-1] == f"{carrier} carries r1"
    assert len(set(moved)) > 1
    assert live.gateway(carrier)["carries"] == ["r1"]
    assert not live.gateway(carrier)["drained"]


def test_a_gateway_is_given_back_when_its_drill_is_killed(live: Live) -> None:
    carrier = live.api.get("/v1/gateways")["routers"][0]["active"]
    words = [*PROGRAM, "drill", "run", "gateway-drain", "--live", "--reports", REPORTS]
    with live.host.popen(
        ["sh", "-c", 'echo $$; exec "$@"', "sh", *words], stdout=subprocess.PIPE, start_new_session=True
    ) as running:
        assert running.stdout is not None
        inner = int(running.stdout.readline())
        eventually_sync(lambda: live.gateway(carrier)["drained"], within_s=120, every_s=0.02)
        process = by_inner_pid(live.host.require_init(), inner)
        assert process is not None
        assert process.signal(signal.SIGKILL)
        eventually_sync(lambda: not live.gateway(carrier)["drained"], within_s=180)
        os.killpg(running.pid, signal.SIGKILL)
    eventually_sync(lambda: live.gateway(carrier)["carries"] == ["r1"], within_s=120)
    eventually_sync(lambda: live.api.get("/v1/status")["verdict"] == "healthy", within_s=120)


def test_what_is_not_safe_is_refused_with_the_reason(live: Live) -> None:
    status, found, _said = live.drill("run", "gateway-crash", "--live", "-o", "json")
    assert (status, found["error"]["code"]) == (3, "not_safe_live")
    assert "kill -9" in found["error"]["message"]
    status, found, _said = live.drill("run", "noop", "--live", "--stream", "vm1=10.9.9.9", "-o", "json")
    assert (status, found["error"]["code"]) == (3, "silent_streams")
    status, found, _said = live.drill("run", "noop", "--live", "--stream", "vm9=10.9.9.9", "-o", "json")
    assert (status, found["error"]["subject"]) == (2, "vm9")
    live.api.post("/v1/gateways/drain", {"node": "a2"})
    try:
        status, found, _said = live.drill("run", "gateway-drain", "--live", "--gateway", "a2", "-o", "json")
        assert (status, found["error"]["code"]) == (3, "unsafe_now")
        assert "drained already" in found["error"]["message"]
    finally:
        live.api.post("/v1/gateways/undrain", {"node": "a2"})
