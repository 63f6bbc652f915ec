"""A lab with routed legs, without agents: the outside host learns routes by BGP, and loses them by BFD."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.lab.conftest import unique_name
from tests.waiting import eventually_sync

from ovenbird.lab.faults import Kill, LinkDown
from ovenbird.lab.lab import Lab, remove
from ovenbird.lab.node import Node
from ovenbird.lab.spec import from_yaml

pytestmark = pytest.mark.lab

LAB_FILE = """
routed: true
bfd: {min_rx_ms: 200, min_tx_ms: 200, mult: 3}
nodes:
  - {name: c1, roles: [central]}
  - {name: g1, roles: [gateway], uplink: false}
  - {name: g-2, roles: [gateway]}
"""
CARRIED = "203.0.113.7"
GATEWAY = f"""
protocol device {{ }}
protocol bfd {{ interface "eth2" {{ min rx interval 200 ms; min tx interval 200 ms; multiplier 3; }}; }}
protocol kernel {{ ipv4 {{ import none; export where source = RTS_BGP; }}; }}
protocol static {{ ipv4; route {CARRIED}/32 unreachable; }}
protocol bgp up {{
  local as 64601; neighbor 10.98.2.1 as 64600; bfd; connect delay time 0; connect retry time 1; error wait time 1, 1;
  ipv4 {{ import all; export where source = RTS_STATIC; }};
}}
"""


@pytest.fixture(scope="module")
def routed() -> Iterator[Lab]:
    name = unique_name()
    try:
        yield Lab.create(from_yaml(LAB_FILE, name=name), agents=False)
    finally:
        remove(name)


def speak(node: Node) -> None:
    """Start a BIRD on a gateway that says that it carries an address."""
    script = "mkdir -p /run/bird /run/ovenbird; cat > /run/bird/own.conf; bird -c /run/bird/own.conf"
    node.run(["sh", "-c", script], timeout_s=20, stdin=GATEWAY).checked()


def route(node: Node, to: str) -> str:
    """Return the interface by which a node's kernel reaches an address; "" for none."""
    words = node.run(["ip", "route", "get", to], timeout_s=10).stdout.split()
    return words[words.index("dev") + 1] if "dev" in words else ""


def test_routes_come_by_bgp_and_go_when_the_far_end_of_the_wire_loses_its_carrier(routed: Lab) -> None:
    outside, gateway = routed.outside, routed.node("g-2")
    assert gateway.run(["ping", "-c1", "-W5", "10.98.2.1"], timeout_s=10).ok
    assert routed.node("g1").run(["ping", "-c1", "-W5", "10.98.1.1"], timeout_s=10).ok
    assert route(outside, CARRIED) == ""
    speak(gateway)
    eventually_sync(lambda: route(outside, CARRIED) == "r-g-2", within_s=20)
    eventually_sync(lambda: route(gateway, "198.51.100.1") == "eth2", within_s=20)

    fault = LinkDown(lab=routed, node="g-2", interface="eth2")
    fault.inject()
    fault.verify_injected()
    eventually_sync(lambda: route(outside, CARRIED) == "", within_s=20)
    carrier = outside.path("/sys/class/net/r-g-2/carrier").read_text(encoding="ascii").strip()
    assert carrier == "1", "only BFD could tell"
    fault.heal()
    eventually_sync(lambda: route(outside, CARRIED) == "r-g-2", within_s=30)


def test_the_outside_host_s_bird_is_a_daemon_like_others_and_lab_up_starts_it_again(routed: Lab) -> None:
    Kill(lab=routed, node="outside", daemon="bird").inject()
    assert "bird" not in routed.outside.pids()
    routed.up()
    assert routed.outside.daemon("bird").command == "bird"
    answer = routed.outside.run(["birdc", "show", "protocols"], timeout_s=10).checked().stdout
    assert {"g1", "g-2"} <= {line.split()[0] for line in answer.splitlines() if line}
