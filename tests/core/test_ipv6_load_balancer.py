"""Load balancers with an IPv6 address: what they lead to, who announces it, what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.core.samples import BLUE, CONTEXT, PUBLIC, R1, VM2, WEB
from tests.core.test_admission import applied, ask, refused
from tests.core.test_ipv6 import BLUE6, DUAL, FLOATING, SIX, changed, named, rows

from ovenbird.model.addresses6 import derived_address6
from ovenbird.plan.compile import compile_object
from ovenbird.plan.dirty import dirty
from ovenbird.plan.inventory import Inventory
from ovenbird.plan.rows import ANNOUNCED6

VIP6 = "2001:db8::150"
WEB_6 = changed(WEB, address6=VIP6)
BALANCED = {**DUAL, WEB.key: WEB_6}
INSIDE6 = derived_address6(BLUE6, "0a:00:00:00:00:12")


def balancer(name: str, address6: str, port: int = 80, target: str = "vm1", more: str = "") -> str:
    ports = f"[{{port: {port}, targets: [{{port: {target}}}]}}]"
    return (
        f"{{kind: LoadBalancer, name: {name}, spec: {{network: public, address6: '{address6}', ports: {ports}{more}}}}}"
    )


def test_it_leads_to_the_same_targets_by_both_families() -> None:
    (row,) = rows(WEB.key, BALANCED)
    assert row.columns["vips"] == {
        "172.16.0.150:80": "192.168.1.12:8080,192.168.1.12:8081",
        "172.16.0.150:443": "192.168.1.12:443",
        f"[{VIP6}]:80": f"[{INSIDE6}]:8080,[{INSIDE6}]:8081",
        f"[{VIP6}]:443": f"[{INSIDE6}]:443",
    }
    assert VIP6 in named(rows(R1.key, BALANCED), "public_to_r1").columns["external_ids"][ANNOUNCED6].split()


def test_whatever_depends_on_it_is_compiled_again() -> None:
    both = Inventory(BALANCED.values())
    other_mac = replace(VM2, assigned=replace(VM2.assigned, mac="0a:00:00:00:00:99"))
    for other in (WEB, BLUE, PUBLIC, R1, VM2, other_mac, changed(VM2, network="nowhere")):
        second = Inventory({**BALANCED, other.key: other}.values())
        for old, new in ((both, second), (second, both)):
            found = dirty([other.key], old, new)
            differ = {key for key in BALANCED if compile_object(key, old, CONTEXT) != compile_object(key, new, CONTEXT)}
            assert differ <= found, other


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (balancer("web", "2001:db8:1::5"), "2001:db8:1::5 is outside"),
        (balancer("web", "2001:db8::5", more=", affinity: client"), "leads every client to the same one target"),
        (balancer("web", "2001:db8::7"), "2001:db8::7 is already used by FloatingIP/f7"),
        (balancer("web", "2001:db8::aff:ff:fe00:1"), "may not be chosen"),
        (balancer("web", "2001:db8::5", target="four"), "address6 leads nowhere: Port/four has no IPv6 address"),
        (balancer("web", "2001:db8::8"), "2001:db8::8 tcp port 80 is already used by LoadBalancer/old"),
        (FLOATING.format(name="f1", port="vm1", address="2001:db8::8"), "already used by LoadBalancer/old"),
        ("{kind: Router, name: r1, spec: {external: {network: public, address6: '2001:db8::8'}}}", "LoadBalancer/old"),
        ("{kind: Network, name: blue, spec: {cidr: 192.168.1.0/24, router: r1}}", "leads nowhere: Port/vm8 has no"),
    ],
)
def test_what_cannot_work_is_refused_with_the_reason(text: str, words: str) -> None:
    there = (
        "{kind: Port, name: vm7, spec: {network: blue}}\n---\n{kind: Port, name: vm8, spec: {network: blue}}\n---\n"
        "{kind: Network, name: only-four, spec: {cidr: 10.0.0.0/24, router: r1}}\n---\n"
        "{kind: Port, name: four, spec: {network: only-four}}\n---\n"
        + FLOATING.format(name="f7", port="vm7", address="2001:db8::7")
    )
    base = applied(SIX, there, balancer("old", "2001:db8::8", target="vm8"))
    problems = refused(base, text)
    assert any(words in problem.message for problem in problems), problems


def test_two_of_one_router_share_an_address_by_their_ports_or_protocols() -> None:
    base = applied(SIX, balancer("old", "2001:db8::8"))
    assert not ask(base, balancer("other", "2001:db8::8", port=81)).warnings
    assert not ask(base, balancer("other", "2001:db8::8", more=", protocol: udp")).warnings
