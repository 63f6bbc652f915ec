"""What status, wait and apply say in a real cluster, while it is well and while a gateway is gone."""

from __future__ import annotations

import pytest
from tests.faces.command import Done, ovenbird
from tests.lab.conftest import unique_name
from tests.waiting import eventually_sync

from ovenbird.lab.lab import Lab, remove
from ovenbird.lab.readiness import wait_ready
from ovenbird.lab.spec import sized

pytestmark = pytest.mark.lab

NETWORKS = """\
kind: ExternalNetwork
name: public
spec: {physnet: ext, cidr: 172.16.0.0/24, gateway: 172.16.0.254, pool: [172.16.0.100-172.16.0.199]}
---
kind: Router
name: r1
spec: {external: {network: public}}
---
kind: Network
name: blue
spec: {cidr: 192.168.1.0/24, router: r1}
---
kind: Port
name: vm1
spec: {network: blue}
"""


@pytest.fixture
def lab(tmp_path):
    """One central node, two gateways, one compute node, ready."""
    name = unique_name()
    try:
        made = Lab.create(sized(name, central=1, gateways=2, computes=1), root=tmp_path)
        wait_ready(made, timeout_s=60, progress=lambda _: None)
        yield made
    finally:
        remove(name, root=tmp_path)


def test_a_lost_gateway_is_seen_named_and_forgotten_when_it_is_back(lab):
    [server] = lab.central_sockets()

    def run(*args: str, given: str = "") -> Done:
        return ovenbird(*args, server=server, given=given)

    def rules() -> set[str]:
        return {f"{reason['rule']} {reason['subject']}" for reason in run("status", "-o", "json").json["reasons"]}

    applied = run("apply", "-f", "-", "--wait", "-o", "json", given=NETWORKS)
    assert (applied.status, applied.json["realised"]["state"]) == (0, "done"), applied
    attached = run("port", "attach", "vm1", "--node", "n1", "--wait", "-o", "json")
    assert attached.json["status"]["state"] == "attached"

    well = eventually_sync(lambda: (one := run("status", "-o", "json")).status == 0 and one.json, within_s=30)
    [router] = well["routers"]
    wanted, standby = (gateway["chassis"] for gateway in router["gateways"])
    assert (router["active"], {gateway["alive"] for gateway in router["gateways"]}) == (wanted, {True})
    assert {"host": wanted, "peer": "n1", "up": True}.items() <= {
        key: value for one in well["bfd"] if (one["host"], one["peer"]) == (wanted, "n1") for key, value in one.items()
    }.items()

    lab.power_off(wanted)
    expected = {"router.last_gateway r1", f"bfd.down {min(wanted, 'n1')}-{max(wanted, 'n1')}"}
    # That it moved is said only until the failover is followed, which may be at once.
    eventually_sync(lambda: expected <= rules(), within_s=20)
    hurt = run("status", "-o", "json")
    assert (hurt.status, hurt.json["verdict"]) == (4, "degraded")
    assert hurt.json["routers"][0]["active"] == standby
    late = run("wait", "--timeout", "1")
    assert late.status == 75
    assert wanted in late.err
    assert standby not in late.err

    lab.power_on(wanted)
    again = eventually_sync(lambda: (one := run("status", "-o", "json")).status == 0 and one.json, within_s=60)
    assert again["routers"][0]["active"] in (wanted, standby), "it goes home by its own policy, which is not awaited"
    assert run("wait", "--timeout", "20").status == 0
