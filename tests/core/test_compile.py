"""Compile: which rows exist for each kind, and the traps of OVN that they must avoid."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any

import pytest
from tests.core.samples import BLUE, CONTEXT, FIP1, PUBLIC, R1, SAMPLE, VM1, VM2, WEB, declared

from ovenbird.model.objects import (
    BalancedPort,
    Declared,
    ExternalNetwork,
    Key,
    LoadBalancer,
    Network,
    Port,
    Route,
    Router,
    RouterExternal,
    Target,
)
from ovenbird.plan.compile import CompileContext, compile_object
from ovenbird.plan.inventory import Inventory
from ovenbird.plan.nb_view import WATCHED_COLUMNS, ActualRow
from ovenbird.plan.rows import HOME, NAMESPACE, OWNER, NbRow, Placement, row_uuid


def rows_of(*objects: Declared, key: Key, context: CompileContext = CONTEXT) -> list[NbRow]:
    return list(compile_object(key, Inventory(objects), context))


def only(rows: list[NbRow], table: str, **columns: Any) -> NbRow:
    found = [row for row in rows if row.table == table and columns.items() <= row.columns.items()]
    assert len(found) == 1, [(row.table, row.columns) for row in rows]
    return found[0]


def tables(rows: list[NbRow]) -> list[str]:
    return [row.table for row in rows]


def test_row_uuid_is_uuid5():
    for identity in ("a", "Network/blue", "ü" * 40):
        assert row_uuid("NAT", identity) == str(uuid.uuid5(NAMESPACE, f"NAT:{identity}"))


def test_every_row_is_marked_hangs_under_its_parent_and_is_watched():
    inventory = Inventory(SAMPLE)
    rows = [row for item in SAMPLE for row in compile_object(item.key, inventory, CONTEXT)]
    assert len({row.uuid for row in rows}) == len(rows)
    by_uuid = {row.uuid: row for row in rows}
    for row in rows:
        assert ActualRow(row.table, row.uuid, row.columns).owner == row.owner
        marks = dict(row.columns.get("external_ids", {OWNER: str(row.owner)}))
        home = marks.pop(HOME, None)
        assert home == ("gw1" if row.table == "HA_Chassis_Group" else None)
        assert marks == {OWNER: str(row.owner)}
        assert row.columns.keys() <= set(WATCHED_COLUMNS[row.table])
        if row.parent:
            assert by_uuid[row.parent.uuid].table == row.parent.table
            assert row.parent.column in WATCHED_COLUMNS[row.parent.table]
    names = [row.columns["name"] for row in rows if row.table.endswith("_Port")]
    assert len(set(names)) == len(names)


def test_external_network_with_and_without_vlan():
    rows = rows_of(PUBLIC, key=PUBLIC.key)
    localnet = only(rows, "Logical_Switch_Port", type="localnet")
    assert localnet.columns["options"] == {"network_name": "ext"}
    assert localnet.columns["addresses"] == {"unknown"}
    assert localnet.columns["tag"] is None
    tagged = declared("public", ExternalNetwork(physnet="ext", cidr="172.16.0.0/24", vlan=42))
    vlan = only(rows_of(tagged, key=tagged.key), "Logical_Switch_Port")
    assert (vlan.columns["tag"], vlan.columns["tag_request"]) == (42, None)
    assert vlan.uuid == localnet.uuid


def test_network_without_router_has_dhcp_without_router_option():
    alone = declared("alone", Network(cidr="10.0.0.0/24"))
    rows = rows_of(alone, key=alone.key)
    assert tables(rows) == ["Logical_Switch", "DHCP_Options"]
    options = rows[1].columns["options"]
    assert "router" not in options
    assert options["server_id"] == "10.0.0.1"
    assert options["mtu"] == "1442"


def test_network_without_dhcp_has_no_options_row_and_its_ports_refer_to_none():
    quiet = declared("blue", Network(cidr="192.168.1.0/24", dhcp=False))
    assert tables(rows_of(quiet, key=quiet.key)) == ["Logical_Switch"]
    assert only(rows_of(quiet, VM1, key=VM1.key), "Logical_Switch_Port").columns["dhcpv4_options"] is None


def test_network_on_router_has_ports_dhcp_and_snat():
    rows = rows_of(*SAMPLE, key=BLUE.key)
    port = only(rows, "Logical_Router_Port", name="r1_blue")
    assert port.columns["networks"] == {"192.168.1.1/24"}
    peer = only(rows, "Logical_Switch_Port")
    assert (peer.columns["type"], peer.columns["addresses"]) == ("router", {"router"})
    assert peer.columns["options"] == {"router-port": "r1_blue"}
    dhcp = only(rows, "DHCP_Options", cidr="192.168.1.0/24")
    assert dhcp.columns["options"]["router"] == "192.168.1.1"
    assert dhcp.columns["options"]["server_mac"] == port.columns["mac"]
    assert dhcp.columns["options"]["dns_server"] == "{10.9.9.9, 10.9.9.8}"
    snat = only(rows, "NAT", type="snat")
    assert (snat.columns["external_ip"], snat.columns["logical_ip"]) == ("172.16.0.1", "192.168.1.0/24")


@pytest.mark.parametrize("external", [None, RouterExternal(network="public", snat=False)])
def test_no_snat_unless_the_router_translates(external: RouterExternal | None):
    router = declared("r1", Router(external=external), address="172.16.0.1" if external else "")
    assert "NAT" not in tables(rows_of(PUBLIC, router, BLUE, key=BLUE.key))


def test_router_and_network_of_one_name_have_ports_of_different_names():
    router = declared("blue", Router())
    network = declared("blue", Network(cidr="192.168.1.0/24", router="blue"))
    rows = rows_of(router, network, key=network.key)
    assert only(rows, "Logical_Router_Port").columns["name"] != only(rows, "Logical_Switch_Port").columns["name"]


def test_external_leg_is_a_distributed_gateway_port():
    rows = rows_of(*SAMPLE, key=R1.key)
    group = only(rows, "HA_Chassis_Group", name="r1")
    members = [row for row in rows if row.table == "HA_Chassis"]
    assert [(row.columns["chassis_name"], row.columns["priority"]) for row in members] == [("gw1", 100), ("gw2", 90)]
    assert all(row.parent and row.parent.uuid == group.uuid for row in members)
    port = only(rows, "Logical_Router_Port", name="r1_public")
    assert port.columns["ha_chassis_group"] == group.uuid
    assert port.columns["networks"] == {"172.16.0.1/24"}
    assert port.columns["mac"] == "0a:00:00:00:00:01"
    peer = only(rows, "Logical_Switch_Port")
    assert peer.columns["options"] == {"router-port": "r1_public", "nat-addresses": "router"}
    route = only(rows, "Logical_Router_Static_Route")
    assert (route.columns["ip_prefix"], route.columns["nexthop"]) == ("0.0.0.0/0", "172.16.0.254")
    assert route.columns["output_port"] == "r1_public"
    router = only(rows, "Logical_Router")
    assert "chassis" not in router.columns["options"], "with a group it makes northd skip the gateway port"


def test_without_gateways_there_is_no_leg_at_all():
    rows = rows_of(*SAMPLE, key=R1.key, context=replace(CONTEXT, placement=Placement()))
    assert tables(rows) == ["Load_Balancer_Group", "Logical_Router"]


def test_declared_default_route_replaces_the_implied_one():
    spec = Router(external=RouterExternal(network="public"), routes=(Route(to="0.0.0.0/0", via="172.16.0.253"),))
    rows = rows_of(PUBLIC, declared("r1", spec, address="172.16.0.1"), key=R1.key)
    assert only(rows, "Logical_Router_Static_Route").columns["nexthop"] == "172.16.0.253"


def test_equal_prefixes_by_different_ways_are_different_rows():
    routes = (Route(to="10.0.0.0/8", via="192.168.1.5"), Route(to="10.0.0.0/8", via="192.168.1.6"))
    rows = rows_of(declared("r1", Router(routes=routes)), key=R1.key)
    assert len({row.uuid for row in rows if row.table == "Logical_Router_Static_Route"}) == 2


@pytest.mark.parametrize(
    ("underlay", "external_mtu", "network_mtu", "told", "external_check", "internal_check"),
    [
        (1500, 1500, None, "1442", "1442", None),  # big packets from outside do not fit the tunnel
        (1558, 1500, None, "1500", None, None),  # the underlay makes room: nothing to check
        (9000, 1500, None, "8942", "1500", None),  # jumbo inside: big packets from inside do not fit the provider
        (1500, 1400, None, "1442", "1400", None),
        (1500, 1500, 1400, "1400", "1442", "1400"),  # a small network needs its own check
        (1500, 1500, 9000, "1442", "1442", None),  # cannot have more than the tunnel carries
    ],
)
def test_mtu(*, underlay, external_mtu, network_mtu, told, external_check, internal_check):
    public = declared("public", ExternalNetwork(physnet="ext", cidr="172.16.0.0/24", mtu=external_mtu))
    blue = declared("blue", Network(cidr="192.168.1.0/24", router="r1", mtu=network_mtu))
    context = replace(CONTEXT, underlay_mtu=underlay)
    network = rows_of(public, R1, blue, key=blue.key, context=context)
    router = rows_of(public, R1, blue, key=R1.key, context=context)
    assert only(network, "DHCP_Options").columns["options"]["mtu"] == told
    assert only(router, "Logical_Router_Port").columns["options"].get("gateway_mtu") == external_check
    assert only(network, "Logical_Router_Port").columns["options"].get("gateway_mtu") == internal_check


def test_port_security_is_optional():
    first = only(rows_of(*SAMPLE, key=VM1.key), "Logical_Switch_Port", name="vm1")
    assert first.columns["addresses"] == first.columns["port_security"] == {"0a:00:00:00:00:11 192.168.1.11"}
    second = only(rows_of(*SAMPLE, key=VM2.key), "Logical_Switch_Port", name="vm2")
    assert second.columns["port_security"] == frozenset()


def test_floating_ip_distributed_and_centralised():
    distributed = only(rows_of(*SAMPLE, key=FIP1.key), "NAT", type="dnat_and_snat")
    assert distributed.columns["logical_ip"] == "192.168.1.11"
    assert (distributed.columns["external_mac"], distributed.columns["logical_port"]) == ("0a:00:00:00:00:21", "vm1")
    central = only(rows_of(*SAMPLE, key=Key("FloatingIP", "fip2")), "NAT", external_ip="172.16.0.102")
    assert (central.columns["external_mac"], central.columns["logical_port"]) == (None, None)


def test_load_balancer_hangs_in_its_routers_group_which_all_of_the_routers_networks_share():
    row = only(rows_of(*SAMPLE, key=WEB.key), "Load_Balancer")
    assert row.columns["vips"] == {
        "172.16.0.150:80": "192.168.1.12:8080,192.168.1.12:8081",
        "172.16.0.150:443": "192.168.1.12:443",
    }
    assert (row.columns["protocol"], row.columns["options"], row.columns["selection_fields"]) == ("tcp", {}, set())
    group = only(rows_of(*SAMPLE, key=R1.key), "Load_Balancer_Group")
    assert row.parent
    assert row.parent.uuid == group.uuid
    shared = {"load_balancer_group": {group.uuid}}
    assert only(rows_of(*SAMPLE, key=R1.key), "Logical_Router").members == shared
    assert only(rows_of(*SAMPLE, key=BLUE.key), "Logical_Switch").members == shared


def test_udp_load_balancer_flushes_connections_and_affinity_chooses_by_client():
    spec = WEB.spec.model_copy(update={"protocol": "udp", "affinity": "client"})
    row = only(rows_of(*SAMPLE[:-1], replace(WEB, spec=spec), key=WEB.key), "Load_Balancer")
    assert row.columns["protocol"] == "udp"
    assert row.columns["options"] == {"ct_flush": "true"}
    assert row.columns["selection_fields"] == {"ip_src", "ip_dst"}


def test_targets_that_cannot_be_reached_are_left_out():
    r2 = declared("r2", Router(external=RouterExternal(network="public")), address="172.16.0.2")
    green = declared("green", Network(cidr="192.168.1.0/24", router="r2"))
    there = declared("there", Port(network="green"), address="192.168.1.30")
    unassigned = declared("waiting", Port(network="blue"))
    targets = tuple(Target(port=name) for name in ("waiting", "vm1", "there", "nowhere"))
    web = replace(WEB, spec=LoadBalancer(network="public", ports=(BalancedPort(port=80, targets=targets),)))
    row = only(rows_of(*SAMPLE[:-1], r2, green, there, unassigned, web, key=web.key), "Load_Balancer")
    assert row.columns["vips"] == {"172.16.0.150:80": "192.168.1.11:80"}


@pytest.mark.parametrize("missing", [PUBLIC, R1, BLUE, VM1])
def test_missing_references_never_fail(missing: Declared):
    left = [item for item in SAMPLE if item is not missing]
    for item in SAMPLE:
        rows = rows_of(*left, key=item.key)
        assert bool(rows) == (item in left and (item.key, missing) not in DEPENDENTS), item.key


DEPENDENTS = {(FIP1.key, R1), (FIP1.key, BLUE), (FIP1.key, VM1), (Key("FloatingIP", "fip2"), R1)} | {
    (Key("FloatingIP", "fip2"), BLUE),
    (VM1.key, BLUE),
    (VM2.key, BLUE),
    (WEB.key, R1),
    (WEB.key, BLUE),
}


def test_unassigned_objects_wait_for_their_address():
    port = declared("vm9", Port(network="blue"))
    assert rows_of(BLUE, port, key=port.key) == []
