"""Two gateways of a router that no workload uses: nobody else is there to be seen, and one of them dies."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from tests.waiting import eventually_sync

from ovenbird.api.client import Client
from ovenbird.lab.faults import PowerOff
from ovenbird.lab.lab import Lab, remove
from ovenbird.lab.readiness import wait_ready
from ovenbird.lab.spec import from_yaml

pytestmark = pytest.mark.lab

LAB_FILE = """
nodes:
  - {name: c1, roles: [central]}
  - {name: g1, roles: [gateway]}
  - {name: g2, roles: [gateway]}
"""
ADDRESS = "172.16.0.1"
DECLARED = f"""
kind: ExternalNetwork
name: public
spec: {{physnet: ext, cidr: 172.16.0.0/24, gateway: 172.16.0.254, pool: [172.16.0.100-172.16.0.199]}}
---
kind: Router
name: r1
spec: {{external: {{network: public, address: {ADDRESS}}}, gateways: {{failback: manual}}}}
"""


@pytest.fixture
def lab() -> Iterator[Lab]:
    name = f"idle-{os.getpid()}"
    try:
        lab = Lab.create(from_yaml(LAB_FILE, name=name))
        wait_ready(lab, timeout_s=60, progress=lambda _line: None)
        yield lab
    finally:
        remove(name)


def test_the_one_that_is_left_carries_the_router_and_the_dead_one_comes_back_as_its_standby(lab: Lab) -> None:
    api = Client(lab.central_sockets())
    api.post("/v1/apply", {"documents": [{"file": "test", "text": DECLARED}], "dry_run": False})
    eventually_sync(lambda: active(api) and answered(lab), within_s=20)
    dead = active(api)
    fault = PowerOff(lab=lab, node=dead)
    fault.inject()
    eventually_sync(lambda: active(api) not in ("", dead) and answered(lab), within_s=30)
    rules = [one["rule"] for one in api.get("/v1/status")["reasons"]]
    assert "gateway.apart" in rules
    fault.heal()
    eventually_sync(lambda: dead in order(api), within_s=60)
    assert order(api)[-1] == dead
    assert answered(lab)
    causes = [change["cause"] for change in api.get("/v1/gateways/history")["changes"]]
    assert causes[0] == "unpaired"


def active(api: Client) -> str:
    return str(routers(api).get("active") or "")


def order(api: Client) -> list[str]:
    return list(routers(api).get("order") or ())


def routers(api: Client) -> dict[str, object]:
    return next(iter(api.get("/v1/gateways")["routers"]), {})


def answered(lab: Lab) -> bool:
    return lab.outside.run(["ping", "-n", "-c1", "-W1", ADDRESS], timeout_s=5).ok
