"""Declared objects and the network that most core tests of compile and diff look at."""

from __future__ import annotations

from ovenbird.model.objects import (
    Assigned,
    BalancedPort,
    Declared,
    ExternalNetwork,
    FloatingIP,
    LoadBalancer,
    Network,
    Port,
    Router,
    RouterExternal,
    Spec,
    Target,
)
from ovenbird.plan.compile import CompileContext
from ovenbird.plan.rows import Placement


def declared(name: str, spec: Spec, **assigned: str) -> Declared:
    return Declared(kind=type(spec).__name__, name=name, spec=spec, assigned=Assigned(**assigned))


PUBLIC = declared("public", ExternalNetwork(physnet="ext", cidr="172.16.0.0/24", gateway="172.16.0.254"))
R1 = declared("r1", Router(external=RouterExternal(network="public")), address="172.16.0.1", mac="0a:00:00:00:00:01")
BLUE = declared("blue", Network(cidr="192.168.1.0/24", router="r1", dns=("10.9.9.9", "10.9.9.8")))
VM1 = declared("vm1", Port(network="blue"), address="192.168.1.11", mac="0a:00:00:00:00:11")
VM2 = declared("vm2", Port(network="blue", port_security=False), address="192.168.1.12", mac="0a:00:00:00:00:12")
FIP1 = declared(
    "fip1",
    FloatingIP(network="public", port="vm1", distributed=True),
    address="172.16.0.101",
    mac="0a:00:00:00:00:21",
)
FIP2 = declared("fip2", FloatingIP(network="public", port="vm2"), address="172.16.0.102", mac="0a:00:00:00:00:22")
WEB = declared(
    "web",
    LoadBalancer(
        network="public",
        ports=(
            BalancedPort(port=80, targets=(Target(port="vm2", target_port=8080), Target(port="vm2", target_port=8081))),
            BalancedPort(port=443, targets=(Target(port="vm2"),)),
        ),
    ),
    address="172.16.0.150",
)

SAMPLE = (PUBLIC, R1, BLUE, VM1, VM2, FIP1, FIP2, WEB)
CONTEXT = CompileContext(placement=Placement(routers={"r1": (("gw1", 100), ("gw2", 90))}), underlay_mtu=1500)
