"""What is unsafe as it is built: each rule finds its case, and says nothing of what is not known."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.core.test_admission import applied

from ovenbird.model.cluster import Cluster, Host, Role
from ovenbird.plan.topology import ChassisSight, GatewayPort, Severity, SwitchSight, Topology, findings

DECLARED = applied("""\
kind: ExternalNetwork
name: public
spec: {physnet: ext, cidr: 172.16.0.0/24, gateway: 172.16.0.254}
---
{kind: Router, name: r1, spec: {external: {network: public}}}
---
{kind: Network, name: blue, spec: {cidr: 192.168.1.0/24, router: r1}}
---
{kind: Port, name: vm1, spec: {network: blue}}
---
{kind: FloatingIP, name: f1, spec: {network: public, port: vm1, distributed: true}}
""")


def host(name: str, *roles: Role, uplink: bool = True) -> Host:
    uplinks = {"ext": "eth1"} if uplink else {}
    return Host(name=name, address=f"10.0.0.{len(name)}", roles=frozenset(roles), uplinks=uplinks)


def cluster(centrals: int = 3, gateways: int = 2, *, compute_uplink: bool = True) -> Cluster:
    hosts = [host(f"c{at}", Role.CENTRAL, uplink=False) for at in range(centrals)]
    hosts += [host(f"g{at}", Role.GATEWAY) for at in range(1, gateways + 1)]
    return Cluster(name="t", hosts=(*hosts, host("n1", Role.COMPUTE, uplink=compute_uplink)))


def sight(name: str, *encapsulations: str, **mappings: str) -> ChassisSight:
    return ChassisSight(name=name, mappings=mappings, encapsulations=frozenset(encapsulations or ("geneve",)))


CHASSIS = {name: sight(name, ext="br-ext") for name in ("g1", "g2", "n1")}
PORT = GatewayPort(name="r1_public", router="r1", listed=("g1", "g2"), physnets=frozenset({"ext"}), has_group=True)
SAFE = Topology(
    cluster=cluster(),
    inventory=DECLARED,
    chassis=CHASSIS,
    ports=(PORT,),
    switches=(SwitchSight(name="public", physnets=("ext",)),),
    places={"vm1": "n1"},
    next_hops={"public": {"g1": "aa:aa", "g2": "aa:aa"}},
)


def rules(topology: Topology) -> list[str]:
    return [finding.rule for finding in findings(topology)]


def test_nothing_is_found_in_a_safe_cluster_nor_in_one_of_which_nothing_is_known():
    assert rules(SAFE) == []
    assert rules(Topology(cluster=cluster(), inventory=DECLARED)) == []


CASES = {
    "database.single": replace(SAFE, cluster=cluster(centrals=1)),
    "database.even": replace(SAFE, cluster=cluster(centrals=2)),
    "gateway.none": replace(SAFE, cluster=cluster(gateways=0), ports=()),
    "gateway.single": replace(SAFE, cluster=cluster(gateways=1)),
    "gateway.unprobed": replace(
        SAFE,
        inventory=applied(
            "{kind: ExternalNetwork, name: public, spec: {physnet: ext, cidr: 172.16.0.0/24}}",
            "{kind: Router, name: r1, spec: {external: {network: public}}}",
        ),
    ),
    "gateway.unknown_chassis": replace(SAFE, ports=(replace(PORT, listed=("g1", "g9")),)),
    "gateway.unmapped": replace(SAFE, chassis={**CHASSIS, "g2": sight("g2")}),
    "gateway.encapsulation": replace(SAFE, chassis={**CHASSIS, "g2": sight("g2", "vxlan", ext="br-ext")}),
    "gateway.not_one_l2": replace(SAFE, next_hops={"public": {"g1": "aa:aa", "g2": "bb:bb"}}),
    "floating_ip.no_uplink": replace(SAFE, cluster=cluster(compute_uplink=False)),
    "network.unfit_host": replace(
        SAFE,
        inventory=applied(
            "{kind: Network, name: red, spec: {cidr: 192.168.7.0/24, physnet: ext, vlan: 7}}",
            "{kind: Port, name: vm1, spec: {network: red}}",
        ),
        cluster=cluster(compute_uplink=False),
    ),
    "loop.two_localnets": replace(SAFE, switches=(SwitchSight(name="joined", physnets=("dmz", "ext")),)),
    "loop.one_bridge": replace(SAFE, chassis={**CHASSIS, "n1": sight("n1", ext="br-ext", dmz="br-ext")}),
    "obsolete.redirect_chassis": replace(
        SAFE, ports=(GatewayPort(name="old", router="theirs", redirect_chassis="g1"),)
    ),
    "obsolete.both_forms": replace(SAFE, ports=(replace(PORT, has_gateway_chassis=True),)),
    "obsolete.pinned": replace(SAFE, ports=(replace(PORT, pinned_to="g1"),)),
}
WARNINGS = {"database.single", "gateway.unprobed", "gateway.not_one_l2"}


@pytest.mark.parametrize("rule", CASES)
def test_each_rule_finds_its_case_and_nothing_else(rule: str):
    (finding,) = findings(CASES[rule])
    assert finding.rule == rule
    assert finding.severity is (Severity.WARNING if rule in WARNINGS else Severity.UNSAFE)
    assert finding.message
    assert finding.hint


def test_what_could_not_be_asked_accuses_nobody():
    unknown_chassis = CASES["gateway.unknown_chassis"]
    assert rules(replace(unknown_chassis, chassis=None)) == []
    assert rules(replace(CASES["floating_ip.no_uplink"], places=None)) == []


def test_four_central_hosts_are_only_warned_of_and_the_unsafe_comes_first():
    found = findings(replace(CASES["gateway.single"], cluster=cluster(centrals=4, gateways=1)))
    assert [(one.rule, one.severity) for one in found] == [
        ("gateway.single", Severity.UNSAFE),
        ("database.even", Severity.WARNING),
    ]
