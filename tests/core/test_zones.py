"""Availability zones: who is eligible, what is refused, and what the cluster's description says of them."""

from __future__ import annotations

from tests.core.test_admission import BASE, document

from ovenbird.controller.placing import gateways, router_needs
from ovenbird.model.cluster import Cluster, Host, Role
from ovenbird.model.cluster_file import parse_cluster, render_cluster
from ovenbird.model.documents import parse_documents
from ovenbird.model.errors import UserError
from ovenbird.plan.admission import admit
from ovenbird.plan.gateways import RouterNeed, schedule
from ovenbird.plan.inventory import Inventory
from ovenbird.plan.rows import Gateway, Placement

GATEWAYS = tuple(
    Gateway(name=name, physnets=frozenset({"ext"}), zone=zone) for name, zone in (("g1", "a"), ("g2", "a"), ("g3", "b"))
)


def need(name: str, *zones: str) -> RouterNeed:
    return RouterNeed(name=name, physnet="ext", zones=frozenset(zones))


def test_only_gateways_of_the_zones_are_listed():
    placed = schedule([need("r1", "a"), need("r2", "b"), need("r3"), need("r4", "a", "b")], GATEWAYS, Placement())
    found = {name: {gateway for gateway, _ in order} for name, order in placed.placement.routers.items()}
    assert found == {"r1": {"g1", "g2"}, "r2": {"g3"}, "r3": {"g1", "g2", "g3"}, "r4": {"g1", "g2", "g3"}}


def test_a_router_whose_zones_have_no_gateway_says_so():
    (unplaced,) = schedule([need("r1", "c")], GATEWAYS, Placement()).unplaced
    assert unplaced.detail == "Router/r1 has no gateway: none of g1, g2, g3 has an uplink to ext in zone c"


def admitted(*zones: str) -> Inventory:
    router = document("Router", "r1", "external: {network: public}", f"gateways: {{zones: [{', '.join(zones)}]}}")
    inventory = Inventory()
    for text in (BASE, router):
        admission = admit(
            inventory,
            parse_documents(text, "f.yaml"),
            physnets=frozenset({"ext"}),
            underlay_mtu=1500,
            revision=1,
            zones=frozenset({"east", "west"}),
        )
        for change in admission.changes:
            if change.new:
                inventory.put(change.new)
    return inventory


def test_zones_are_declared_per_router_and_unknown_ones_are_refused_with_a_near_one():
    assert [each.zones for each in router_needs(admitted("east"))] == [frozenset({"east"})]
    try:
        admitted("east", "wets")
    except UserError as error:
        (problem,) = error.problems
    assert "no gateway is in zone 'wets'; gateways are in: east, west" in problem.message
    assert problem.hint == "did you mean 'west'?"


def test_zones_come_from_the_clusters_description():
    hosts = (
        Host(name="c1", address="10.0.0.1", roles=frozenset({Role.CENTRAL}), zone="z"),
        Host(name="g1", address="10.0.0.2", roles=frozenset({Role.GATEWAY}), uplinks={"ext": "eth1"}, zone="a"),
    )
    cluster = Cluster(name="t", hosts=hosts)
    assert parse_cluster(render_cluster(cluster)).cluster == cluster
    assert cluster.gateway_zones == {"a"}
    assert [gateway.zone for gateway in gateways(cluster, {})] == ["a"]
