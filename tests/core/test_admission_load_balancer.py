"""Admission of load balancers: each rule with the line that it points at, shared addresses, and what may be deleted."""

from __future__ import annotations

import pytest
from tests.core.test_admission import BASE, applied, ask, document, refused, the

from ovenbird.model.errors import Refused, UserError
from ovenbird.model.objects import Key
from ovenbird.plan.admission import admit_delete
from ovenbird.plan.inventory import Inventory

MORE = """\
kind: Port
name: vm2
spec: {network: blue}
---
kind: Router
name: r2
spec: {external: {network: public}}
---
kind: Network
name: red
spec: {cidr: 192.168.7.0/24, router: r2}
---
kind: Port
name: red1
spec: {network: red}
---
kind: Network
name: alone
spec: {cidr: 192.168.8.0/24}
---
kind: Port
name: alone1
spec: {network: alone}
---
kind: Port
name: vm3
spec: {network: blue}
---
kind: FloatingIP
name: f3
spec: {network: public, port: vm3, distributed: true}
---
kind: LoadBalancer
name: web
spec: {network: public, address: 172.16.0.109, ports: [{port: 80, targets: [{port: vm1}, {port: vm2}]}]}
"""


def balancer(*fields: str, name: str = "lb") -> str:
    return document("LoadBalancer", name, "network: public", *fields)


def on(*targets: str) -> list[str]:
    return ["ports:", "- port: 443", "  targets:", *(f"  - {{port: {target}}}" for target in targets)]


@pytest.fixture(scope="module")
def base() -> Inventory:
    return applied(BASE, MORE)


BROKEN = [
    (
        "a missing network",
        document("LoadBalancer", "lb", "network: x", *on("vm1")),
        4,
        "ExternalNetwork/x does not",
        "",
    ),
    ("a missing target", balancer(*on("vm1", "wm2")), 9, "Port/wm2 does not exist", "'vm2'"),
    (
        "a target behind no router",
        balancer(*on("alone1")),
        8,
        "Network/alone, which is attached to no router",
        "'router'",
    ),
    (
        "targets behind two routers",
        balancer(*on("vm1", "vm2", "red1")),
        10,
        "Port/red1 is behind Router/r2, but Port/vm1 is behind Router/r1",
        "a load balancer for each",
    ),
    (
        "a target with a distributed floating IP",
        balancer(*on("vm1", "vm3")),
        9,
        "FloatingIP/f3",
        "'distributed: false'",
    ),
    ("a target given twice", balancer(*on("vm1", "vm2", "vm1")), 10, "Port/vm1 is given twice", "keep one"),
    (
        "a port given twice",
        balancer(*on("vm1"), "- port: 443", "  targets: [{port: vm2}]"),
        9,
        "tcp port 443 is given twice",
        "in one place",
    ),
    ("a floating IP's address", balancer("address: 172.16.0.101", *on("vm1")), 5, "used by FloatingIP/f1", ""),
    ("the upstream router's", balancer("address: 172.16.0.254", *on("vm1")), 5, "is the gateway of", ""),
    ("outside the pool", balancer("address: 172.16.0.9", *on("vm1")), 5, "outside the pool of", "172.16.0.100-"),
    ("outside the network", balancer("address: 10.0.0.9", *on("vm1")), 5, "10.0.0.9 is outside ExternalNetwork/", ""),
    (
        "protocol and port of another",
        balancer("address: 172.16.0.109", "ports: [{port: 80, targets: [{port: vm1}]}]"),
        6,
        "172.16.0.109 tcp port 80 is already used by LoadBalancer/web",
        "another port",
    ),
    (
        "an address of another router's",
        balancer("address: 172.16.0.109", *on("red1")),
        5,
        "172.16.0.109 is already used by LoadBalancer/web on Router/r1, not on Router/r2",
        "only load balancers of one router",
    ),
    # Changes that would break a load balancer that is there already.
    (
        "a floating IP on its address",
        document("FloatingIP", "f", "network: public", "port: vm2", "address: 172.16.0.109"),
        6,
        "172.16.0.109 is already used by LoadBalancer/web",
        "",
    ),
    (
        "a router on its address",
        document("Router", "r", "external:", "  network: public", "  address: 172.16.0.109"),
        6,
        "172.16.0.109 is already used by LoadBalancer/web",
        "",
    ),
    (
        "a target's floating IP becoming distributed",
        document("FloatingIP", "f1", "network: public", "port: vm1", "address: 172.16.0.101", "distributed: true"),
        7,
        "Port/vm1 has the distributed FloatingIP/f1",
        "another target",
    ),
    ("a target that moves", document("Port", "vm2", "network: red"), 4, "Port/vm2 is behind Router/r2, but", ""),
    (
        "a network that leaves its router",
        document("Network", "blue", "cidr: 192.168.1.0/24"),
        3,
        "LoadBalancer/web: Port/vm1 is in Network/blue, which is attached to no router",
        "",
    ),
    ("a router that loses its outside", document("Router", "r1", "routes: []"), 3, "LoadBalancer/web: Port/vm1", ""),
]


@pytest.mark.parametrize(("text", "line", "message", "hint"), [each[1:] for each in BROKEN], ids=[e[0] for e in BROKEN])
def test_rule(base: Inventory, text: str, line: int, message: str, hint: str):
    problems = [problem for problem in refused(base, text) if message in problem.message]
    assert [(problem.file, problem.line) for problem in problems] == [("f.yaml", line)], refused(base, text)
    assert hint in problems[0].hint


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("{network: public}", "'ports' is missing"),
        ("{network: public, ports: []}", "'ports' must be a list with at least one item, not an empty list"),
        ("{network: public, ports: [{port: 80, targets: []}]}", "'ports[0].targets' must be a list with at least one"),
        ("{network: public, ports: [{port: 0, targets: [{port: vm1}]}]}", "'ports[0].port' must be at least 1, not 0"),
        ("{network: public, protocol: sctp, ports: [{port: 1, targets: [{port: a}]}]}", "must be 'tcp' or 'udp', not"),
    ],
)
def test_malformed(base: Inventory, spec: str, message: str):
    with pytest.raises(UserError) as caught:
        ask(base, f"kind: LoadBalancer\nname: lb\nspec: {spec}\n")
    assert message in caught.value.problems[0].message


def test_an_address_is_allocated_and_kept(base: Inventory):
    first = ask(base, balancer(*on("vm1"))).changes[0].new
    assert first
    assert (first.assigned.address, first.assigned.mac) == ("172.16.0.104", "")
    again = applied(BASE, MORE, balancer(*on("vm1")), balancer(*on("vm2", "vm1")))
    assert the(again, "LoadBalancer", "lb").assigned.address == "172.16.0.104"


@pytest.mark.parametrize(
    "fields",
    [["ports: [{port: 81, targets: [{port: vm1}]}]"], ["protocol: udp", "ports: [{port: 80, targets: [{port: vm1}]}]"]],
)
def test_an_address_serves_several_protocols_and_ports_of_one_router(base: Inventory, fields: list[str]):
    change = ask(base, balancer("address: 172.16.0.109", *fields)).changes[0]
    assert change.new
    assert change.new.assigned.address == "172.16.0.109"


def test_one_port_on_two_target_ports_is_two_backends(base: Inventory):
    targets = "[{port: vm1, target_port: 8080}, {port: vm1, target_port: 8081}]"
    assert ask(base, balancer(f"ports: [{{port: 82, targets: {targets}}}]"))


def test_targets_and_network_cannot_be_deleted_before_it(base: Inventory):
    with pytest.raises(Refused) as caught:
        admit_delete(base, [Key("Port", "vm2")])
    assert "is used by LoadBalancer/web" in caught.value.problems[0].message
    order = [change.key for change in admit_delete(base, [Key("Port", "vm2"), Key("LoadBalancer", "web")]).changes]
    assert order == [Key("LoadBalancer", "web"), Key("Port", "vm2")]


def test_a_load_balancer_may_have_its_own_routers_address_inside_or_outside_the_pool(base: Inventory):
    address = the(base, "Router", "r1").assigned.address
    with_it = applied(BASE, MORE, balancer(f"address: {address}", *on("vm1")))
    assert the(with_it, "LoadBalancer", "lb").assigned.address == address
    beyond = document("Router", "r1", "external: {network: public, address: 172.16.0.7}")
    moved = applied(BASE, MORE, beyond, balancer("address: 172.16.0.7", *on("vm1")))
    assert the(moved, "LoadBalancer", "lb").assigned.address == "172.16.0.7"
    assert "outside the pool" in refused(base, balancer("address: 172.16.0.7", *on("vm1")))[0].message


def test_a_load_balancer_may_not_have_another_routers_address(base: Inventory):
    address = the(base, "Router", "r2").assigned.address
    (problem,) = refused(base, balancer(f"address: {address}", *on("vm1")))
    assert f"{address} is the address of Router/r2, but its targets are behind Router/r1" in problem.message


def test_a_router_may_not_take_the_address_of_another_routers_load_balancer(base: Inventory):
    taken = document("Router", "r3", "external: {network: public, address: 172.16.0.109}")
    (problem,) = refused(base, taken)
    assert problem.message == "172.16.0.109 is already used by LoadBalancer/web, which is on Router/r1"


def test_two_load_balancers_on_a_routers_address_still_need_different_ports(base: Inventory):
    address = the(base, "Router", "r1").assigned.address
    first = applied(BASE, MORE, balancer(f"address: {address}", *on("vm1")))
    (problem,) = refused(first, balancer(f"address: {address}", *on("vm2"), name="other"))
    assert "tcp port 443 is already used by LoadBalancer/lb" in problem.message
