"""Networks that a VLAN of a physical network carries: what is refused, what is compiled, who may carry their router."""

from __future__ import annotations

import pytest
from tests.core.samples import declared

from ovenbird.controller.placing import router_needs
from ovenbird.model.cluster import Host, Role
from ovenbird.model.documents import parse_documents
from ovenbird.model.errors import Problem, UserError
from ovenbird.model.objects import Declared, ExternalNetwork, Key, Network, Port, Router, RouterExternal, RouterGateways
from ovenbird.plan.admission import admit
from ovenbird.plan.compile import CompileContext, compile_object
from ovenbird.plan.dirty import dirty
from ovenbird.plan.gateways import schedule
from ovenbird.plan.inventory import Inventory
from ovenbird.plan.reach import why_not_on
from ovenbird.plan.rows import Gateway, NbRow, Placement

PUBLIC = declared("public", ExternalNetwork(physnet="ext", cidr="172.16.0.0/24", gateway="172.16.0.254"))
OVERLAY = declared(
    "r1", Router(external=RouterExternal(network="public")), address="172.16.0.1", mac="0a:00:00:00:00:01"
)
BRIDGED = declared(
    "r1",
    Router(external=RouterExternal(network="public"), gateways=RouterGateways(redirect="bridged")),
    address="172.16.0.1",
    mac="0a:00:00:00:00:01",
)
RED = declared("red", Network(cidr="192.168.7.0/24", router="r1", physnet="racks", vlan=201))
VM = declared("vm", Port(network="red"), address="192.168.7.2", mac="0a:00:00:00:00:02")
CONTEXT = CompileContext(placement=Placement(routers={"r1": (("g1", 100), ("g2", 90))}), underlay_mtu=1500)

BASE = """\
{kind: ExternalNetwork, name: public, spec: {physnet: ext, cidr: 172.16.0.0/24}}
---
{kind: ExternalNetwork, name: tagged, spec: {physnet: ext, vlan: 100, cidr: 172.17.0.0/24}}
---
{kind: Router, name: r1, spec: {external: {network: public}, gateways: {redirect: bridged}}}
---
{kind: Network, name: red, spec: {cidr: 192.168.7.0/24, router: r1, physnet: racks, vlan: 201}}
"""


def compiled(key: Key, *objects: Declared) -> list[NbRow]:
    return list(compile_object(key, Inventory(objects), CONTEXT))


def the(rows: list[NbRow], table: str, **columns: object) -> NbRow:
    (found,) = [row for row in rows if row.table == table and columns.items() <= row.columns.items()]
    return found


def admitted(base: Inventory, text: str) -> Inventory:
    documents = parse_documents(text, "f.yaml")
    for change in admit(base, documents, physnets=frozenset({"ext", "racks"}), underlay_mtu=1500, revision=1).changes:
        assert change.new
        base.put(change.new)
    return base


def refused(text: str) -> tuple[Problem, ...]:
    with pytest.raises(UserError) as caught:
        admitted(admitted(Inventory(), BASE), text)
    return caught.value.problems


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("kind: Network\nname: n\nspec:\n  cidr: 10.0.0.0/24\n  vlan: 7\n", 3, "vlan has no meaning without physnet"),
        (
            "kind: Network\nname: n\nspec:\n  cidr: 10.0.0.0/24\n  physnet: ext\n",
            3,
            "physnet has no meaning without vlan",
        ),
        (
            "kind: Network\nname: n\nspec:\n  cidr: 10.0.0.0/24\n  physnet: rack\n  vlan: 7\n",
            5,
            "unknown physnet 'rack'",
        ),
        (
            "kind: Network\nname: n\nspec:\n  cidr: 10.0.0.0/24\n  physnet: racks\n  vlan: 201\n",
            6,
            "physnet 'racks' VLAN 201 carries Network/red already",
        ),
        (
            "kind: Network\nname: n\nspec:\n  cidr: 10.0.0.0/24\n  physnet: ext\n  vlan: 100\n",
            6,
            "physnet 'ext' VLAN 100 carries ExternalNetwork/tagged already",
        ),
        (
            "kind: ExternalNetwork\nname: e\nspec:\n  cidr: 10.0.0.0/24\n  physnet: racks\n  vlan: 201\n",
            6,
            "carries Network/red already",
        ),
        (
            "kind: Network\nname: n\nspec:\n  cidr: 10.0.0.0/24\n  router: r1\n",
            3,
            'Router/r1 has redirect "bridged", and what comes back to this network needs a tunnel',
        ),
        (
            "kind: Network\nname: n\nspec:\n  cidr: 10.0.0.0/24\n  physnet: racks\n  vlan: 7\n  router: r2\n"
            "  mtu: 1500\n"
            "---\nkind: Router\nname: r2\nspec: {external: {network: public}}\n",
            8,
            "mtu 1500 plus Geneve's 58 does not fit the underlay's 1500",
        ),
        (
            "kind: Router\nname: r\nspec:\n  gateways: {redirect: bridged}\n",
            4,
            "has no meaning without an external leg",
        ),
        (
            "kind: Router\nname: r\nspec:\n  external: [{network: public}, {network: tagged}]\n"
            "  gateways: {redirect: bridged}\n",
            3,
            "OVN does so for one external network only",
        ),
        (
            "kind: Router\nname: r\nspec:\n  external: {network: public}\n"
            "  gateways: {redirect: bridged, mode: gateway-router}\n",
            3,
            'redirect has no meaning with mode "gateway-router"',
        ),
    ],
)
def test_what_is_refused_and_where(text: str, line: int, message: str):
    (problem,) = refused(text)
    assert message in problem.message
    assert problem.line == line


def test_a_network_may_take_the_vlan_that_another_leaves_in_the_same_file():
    after = admitted(
        admitted(Inventory(), BASE),
        "{kind: Network, name: red, spec: {cidr: 192.168.7.0/24, router: r1, physnet: racks, vlan: 202}}\n---\n"
        "{kind: Network, name: new, spec: {cidr: 192.168.8.0/24, router: r1, physnet: racks, vlan: 201}}\n",
    )
    assert after.networks_on("racks", 201) == {Key("Network", "new")}


def test_its_switch_has_a_port_to_the_physical_network():
    row = the(compiled(RED.key, PUBLIC, OVERLAY, RED), "Logical_Switch_Port", type="localnet")
    assert (row.columns["options"], row.columns["tag"]) == ({"network_name": "racks_vlans"}, 201)
    assert row.parent is not None
    assert row.parent.uuid == the(compiled(RED.key, PUBLIC, OVERLAY, RED), "Logical_Switch").uuid


@pytest.mark.parametrize(("router", "redirect", "mtu"), [(OVERLAY, None, "1442"), (BRIDGED, "bridged", "1500")])
def test_only_where_nothing_takes_a_tunnel_the_full_mtu_is_told(router: Declared, redirect: str | None, mtu: str):
    leg = the(compiled(router.key, PUBLIC, router, RED), "Logical_Router_Port", mac="0a:00:00:00:00:01")
    assert leg.columns["options"].get("redirect-type") == redirect
    assert leg.columns["options"].get("gateway_mtu") == (None if redirect else "1442")
    assert the(compiled(RED.key, PUBLIC, router, RED), "DHCP_Options").columns["options"]["mtu"] == mtu


def test_how_the_gateway_is_reached_changes_what_the_networks_are_told():
    assert dirty([BRIDGED.key], Inventory([PUBLIC, OVERLAY, RED]), Inventory([PUBLIC, BRIDGED, RED])) >= {RED.key}


def test_its_routers_gateways_have_an_uplink_to_both_physical_networks():
    (need,) = router_needs(Inventory([PUBLIC, OVERLAY, RED]))
    hosts = [
        Gateway(name="g1", physnets=frozenset({"ext"})),
        Gateway(name="g2", physnets=frozenset({"ext", "racks"})),
        Gateway(name="g3", physnets=frozenset({"racks"})),
    ]
    assert [name for name, _ in schedule([need], hosts, Placement()).placement.routers["r1"]] == ["g2"]
    (unplaced,) = schedule([need], hosts[:1], Placement()).unplaced
    assert "none of g1 has an uplink to ext and racks" in unplaced.detail


def host(*roles: Role, **uplinks: str) -> Host:
    return Host(name="h", address="10.0.0.1", roles=frozenset(roles), uplinks=uplinks)


def test_a_workloads_host_needs_the_uplinks_that_its_packets_take():
    racks, both = host(Role.COMPUTE, racks="e1"), host(Role.COMPUTE, racks="e1", ext="e2")
    overlay, bridged = Inventory([PUBLIC, OVERLAY, RED, VM]), Inventory([PUBLIC, BRIDGED, RED, VM])
    assert why_not_on(host(Role.COMPUTE, ext="e2"), "vm", overlay) == (
        "h has no uplink to racks",
        "Network/red is VLAN 201 of racks",
    )
    assert why_not_on(racks, "vm", overlay) is None
    assert (why_not_on(racks, "vm", bridged) or ("",))[0] == "h has no uplink to ext"
    assert why_not_on(both, "vm", bridged) is None
    # With the mapping that a standby gateway lacks, its workloads would speak with the active gateway's address.
    assert (why_not_on(host(Role.GATEWAY, Role.COMPUTE, racks="e1", ext="e2"), "vm", bridged) or ("",))[
        0
    ] == "h is a gateway"
    assert why_not_on(host(Role.GATEWAY, Role.COMPUTE, racks="e1", ext="e2"), "vm", overlay) is None
    blue = declared("blue", Network(cidr="192.168.1.0/24", router="r1"))
    assert (
        why_not_on(host(Role.COMPUTE), "vm", Inventory([PUBLIC, OVERLAY, blue, declared("vm", Port(network="blue"))]))
        is None
    )
