"""What real ovsdb-server and ovn-northd make of our plans: judged by what is in SB and in northd's log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.core.samples import BLUE, CONTEXT, FIP1, FIP2, PUBLIC, R1, SAMPLE, VM1, VM2, declared
from tests.daemons.ovn_central import DEADLINE_S, OvnCentral

from ovenbird.model.objects import Declared, ExternalNetwork, FloatingIP, Network, Port, Route, Router, RouterExternal
from ovenbird.plan.compile import CompileContext, compile_object
from ovenbird.plan.diff import audit, diff
from ovenbird.plan.inventory import Inventory
from ovenbird.plan.nb_view import TABLES
from ovenbird.plan.rows import ConflictKind, Placement, Plan

pytestmark = pytest.mark.daemons


@pytest.fixture
async def ovn(tmp_path: Path) -> AsyncIterator[OvnCentral]:
    async with OvnCentral(tmp_path) as central:
        yield central


async def declare(ovn: OvnCentral, *objects: Declared, context: CompileContext = CONTEXT) -> Plan:
    """Bring NB to these objects, wait for northd, and see that nothing is left to do."""
    inventory = Inventory(objects)
    plan = audit(inventory, context, ovn.index())
    await ovn.execute(plan)
    assert audit(inventory, context, ovn.index()) == Plan((), plan.conflicts)
    ovn.realise()
    return plan


def flows(ovn: OvnCentral, datapath: str, *words: str) -> list[str]:
    return [flow for flow in ovn.sbctl("lflow-list", datapath).splitlines() if all(word in flow for word in words)]


async def test_the_external_leg_is_a_gateway_port_over_the_group(ovn):
    await declare(ovn, *SAMPLE)
    assert ovn.binding("cr-r1_public", "type") == "chassisredirect"
    members = ovn.sbctl("--bare", "--columns=priority,external_ids", "list", "HA_Chassis").split()
    assert sorted(members) == ["100", "90", "chassis-name=gw1", "chassis-name=gw2"]
    assert ovn.sbctl("--bare", "--columns=name", "list", "HA_Chassis_Group") == "r1"
    assert ovn.binding("public_localnet", "type") == "localnet"
    assert ovn.binding("public_localnet", "options") == "network_name=ext"
    assert flows(ovn, "r1", "lr_in_ip_routing", "ip4.dst == 0.0.0.0/0", "172.16.0.254", 'outport = "r1_public"')
    assert ovn.complaints() == []


async def test_snat_and_both_kinds_of_floating_ip_coexist(ovn):
    await declare(ovn, *SAMPLE)
    (snat, *_) = flows(ovn, "r1", "lr_out_snat", "ip4.src == 192.168.1.0/24", 'is_chassis_resident("cr-r1_public")')
    assert "172.16.0.1" in snat
    distributed = flows(ovn, "r1", "lr_out_snat", "ip4.src == 192.168.1.11 ", 'is_chassis_resident("vm1")')
    assert any("0a:00:00:00:00:21" in flow and "172.16.0.101" in flow for flow in distributed)
    central = flows(ovn, "r1", "lr_out_snat", "ip4.src == 192.168.1.12 ", 'is_chassis_resident("cr-r1_public")')
    assert any("172.16.0.102" in flow for flow in central)
    assert priority(central[0]) > priority(snat)

    swapped = replace(FIP1, spec=FIP1.spec.model_copy(update={"distributed": False}))
    await declare(ovn, PUBLIC, R1, BLUE, VM1, VM2, swapped, FIP2)
    assert flows(ovn, "r1", "lr_out_snat", 'is_chassis_resident("vm1")') == []
    assert ovn.complaints() == []


def priority(flow: str) -> int:
    return int(flow.partition("priority=")[2].split()[0].rstrip(","))


async def test_a_gateway_that_takes_over_announces_all_addresses(ovn):
    await declare(ovn, *SAMPLE)
    ovn.sbctl("chassis-add", "gw1", "geneve", "192.0.2.1", "--", "lsp-bind", "cr-r1_public", "gw1")
    ovn.sbctl("wait-until", "Port_Binding", "public_to_r1", "nat_addresses!=[]")
    announced = ovn.binding("public_to_r1", "nat_addresses")
    gateway = 'is_chassis_resident("cr-r1_public")'
    assert f"0a:00:00:00:00:01 172.16.0.1 172.16.0.102 172.16.0.150 {gateway}" in normal(announced)
    assert '0a:00:00:00:00:21 172.16.0.101 is_chassis_resident("vm1")' in announced


def normal(announced: str) -> str:
    """Put the addresses before each condition in order."""
    mac, *rest = announced.split()
    addresses = [word for word in rest if word.startswith("172.16.0.") and word != "172.16.0.101"]
    return " ".join((mac, *sorted(set(addresses)), *(word for word in rest if word not in addresses)))


async def test_workloads_are_told_address_router_mtu_and_dns(ovn):
    await declare(ovn, *SAMPLE)
    (offer, *_) = flows(ovn, "blue", "ls_in_dhcp_options", '"vm1"', "put_dhcp_opts")
    for words in ("offerip = 192.168.1.11", "mtu = 1442", "router = 192.168.1.1", "dns_server = {10.9.9.9, 10.9.9.8}"):
        assert words in offer
    assert flows(ovn, "blue", "ls_in_dhcp_response", '"vm1"', "ip4.src = 192.168.1.1")
    assert ovn.complaints() == []


@pytest.mark.parametrize("dns", [(), ("10.9.9.9",), ("10.9.9.9", "10.9.9.8")])
async def test_the_dhcp_answer_is_understood(ovn, dns):
    blue = replace(BLUE, spec=BLUE.spec.model_copy(update={"dns": dns}))
    await declare(ovn, PUBLIC, R1, blue, VM1)
    discover = "ip4.src == 0.0.0.0 && ip4.dst == 255.255.255.255 && udp.src == 68 && udp.dst == 67 && ip.ttl == 64"
    trace = ovn.trace("blue", f"{FROM_VM1} && eth.dst == ff:ff:ff:ff:ff:ff && {discover}")
    assert "put_dhcp_opts(offerip = 192.168.1.11" in trace
    assert 'output to "vm1"' in trace


FROM_VM1 = 'inport == "vm1" && eth.src == 0a:00:00:00:00:11'


@pytest.mark.parametrize(("translations", "source"), [((), "172.16.0.1"), ((FIP1,), "172.16.0.101")])
async def test_packets_to_the_world_leave_by_the_physical_network(ovn, translations, source):
    await declare(ovn, PUBLIC, R1, BLUE, VM1, *translations)
    ports = ovn.replica.table("Logical_Router_Port").values()
    (mac,) = (port["mac"] for port in ports if port["name"] == "r1_blue")
    packet = f"eth.dst == {mac} && ip4.src == 192.168.1.11 && ip4.dst == 198.51.100.7 && udp.dst == 53 && ip.ttl == 64"
    known = {"logical_port": "r1_public", "ip": "172.16.0.254", "mac": "0e:00:00:00:00:fe"}
    datapath = ovn.sbctl("--bare", "--columns=_uuid", "find", "Datapath_Binding", "external_ids:name=r1")
    columns = [f'{column}="{value}"' for column, value in known.items()]
    ovn.sbctl("create", "MAC_Binding", *columns, f"datapath={datapath}")
    trace = ovn.trace("blue", f"{FROM_VM1} && {packet}")
    assert f"({source})" in trace
    assert 'output to "public_localnet"' in trace


async def test_too_big_packets_are_answered(ovn):
    small = declared("small", Network(cidr="192.168.2.0/24", router="r1", mtu=1400))
    await declare(ovn, *SAMPLE, small)
    answers = flows(ovn, "r1", "icmp4_error", "frag_mtu = 1442", 'inport == "r1_public"')
    assert any("ip4.dst == 172.16.0.101" in flow for flow in answers), "to a distributed address, from its own chassis"
    assert flows(ovn, "r1", "lr_in_larger_pkts", "frag_mtu = 1400", 'inport == "r1_blue" && outport == "r1_small"')
    assert flows(ovn, "r1", "lr_in_chk_pkt_len", 'outport == "r1_blue"') == []


async def test_vlan_comes_and_goes(ovn):
    for vlan, tag in ((42, "42"), (43, "43"), (None, "")):
        public = replace(PUBLIC, spec=PUBLIC.spec.model_copy(update={"vlan": vlan}))
        await declare(ovn, public)
        assert ovn.binding("public_localnet", "tag") == tag


async def test_moves_between_networks_and_routers(ovn):
    green = declared("green", Network(cidr="192.168.3.0/24", router="r2"))
    r2 = declared("r2", Router(external=RouterExternal(network="public")), address="172.16.0.2")
    context = replace(CONTEXT, placement=Placement(routers=dict.fromkeys(("r1", "r2"), (("gw1", 100), ("gw2", 90)))))
    await declare(ovn, *SAMPLE, r2, green, context=context)
    moved = replace(VM1, spec=Port(network="green"), assigned=replace(VM1.assigned, address="192.168.3.11"))
    blue = replace(BLUE, spec=BLUE.spec.model_copy(update={"router": "r2"}))
    plan = await declare(ovn, PUBLIC, R1, r2, blue, green, moved, VM2, context=context)
    assert not plan.conflicts
    datapath = ovn.sbctl("--bare", "--columns=_uuid", "find", "Datapath_Binding", "external_ids:name=green")
    assert ovn.binding("vm1", "datapath") == datapath
    assert ovn.binding("r1_blue", "type") == ""
    assert flows(ovn, "r2", "lr_out_snat", "ip4.src == 192.168.1.0/24", "172.16.0.2")
    assert ovn.complaints() == []


async def test_everything_goes_and_only_ours(ovn):
    ovn.nbctl("ls-add", "theirs", "--", "lsp-add", "theirs", "their-port", "--", "lr-add", "their-router")
    await declare(ovn, *SAMPLE)
    await declare(ovn)
    assert ovn.nbctl("--bare", "--columns=name", "list", "Logical_Switch") == "theirs"
    left = {table: len(ovn.replica.table(table)) for table in TABLES if ovn.replica.table(table)}
    assert left == {"Logical_Switch": 1, "Logical_Switch_Port": 1, "Logical_Router": 1}
    assert ovn.sbctl("--bare", "--columns=logical_port", "list", "Port_Binding") == "their-port"


async def test_a_name_that_someone_else_has(ovn):
    ovn.nbctl("ls-add", "theirs", "--", "lsp-add", "theirs", "vm1", "--", "ha-chassis-group-add", "r1")
    await ovn.replica.wait_until(lambda nb: len(nb.table("HA_Chassis_Group")) == 1, timeout_s=DEADLINE_S)
    plan = await declare(ovn, *SAMPLE)
    kinds = {(conflict.owner, conflict.kind) for conflict in plan.conflicts}
    assert kinds >= {(VM1.key, ConflictKind.NAME_TAKEN), (R1.key, ConflictKind.NAME_TAKEN)}
    assert ovn.binding("vm2", "type") == ""
    assert ovn.binding("vm2", "logical_port") == "vm2"
    ovn.nbctl("lsp-del", "vm1", "--", "ha-chassis-group-del", "r1")
    await ovn.replica.wait_until(lambda nb: len(nb.table("HA_Chassis_Group")) == 0, timeout_s=DEADLINE_S)
    assert not (await declare(ovn, *SAMPLE)).conflicts
    assert ovn.binding("cr-r1_public", "type") == "chassisredirect"


async def test_damage_by_hand_is_mended(ovn):
    await declare(ovn, *SAMPLE)
    version = ovn.replica.version
    ovn.nbctl(
        *("lsp-del", "vm1", "--", "lr-nat-del", "r1", "snat", "--", "lrp-del", "r1_blue", "--"),
        *("ha-chassis-group-remove-chassis", "r1", "gw2", "--", "set", "Logical_Router", "r1", "options:chassis=gw1"),
        *("--", "lrp-set-gateway-chassis", "r1_public", "gw2", "99"),
    )
    await ovn.replica.wait_until(lambda nb: nb.version > version, timeout_s=DEADLINE_S)
    ovn.realise()
    assert any("Bad configuration" in line for line in ovn.complaints()), "northd drops the gateway port"
    await declare(ovn, *SAMPLE)
    assert ovn.binding("cr-r1_public", "type") == "chassisredirect"
    assert ovn.binding("vm1", "logical_port") == "vm1"
    assert ovn.nbctl("lrp-get-gateway-chassis", "r1_public") == "", "one form of list, and it is the group's"
    assert flows(ovn, "r1", "lr_out_snat", "ip4.src == 192.168.1.0/24")


async def test_the_index_kept_by_deltas_finds_what_to_repair(ovn):
    await declare(ovn, *SAMPLE)
    index = ovn.index()
    changes = ovn.replica.changes()
    assert (await anext(changes)).initial
    ovn.nbctl("lsp-del", "vm1", "--", "lr-nat-del", "r1", "dnat_and_snat", "172.16.0.102")
    changed = await asyncio.wait_for(anext(changes), DEADLINE_S)
    touched = {key for change in changed.rows for key in index.apply(change.table, change.uuid, change.new)}
    assert {VM1.key, FIP2.key} <= touched <= {VM1.key, FIP2.key, BLUE.key, R1.key}
    inventory = Inventory(SAMPLE)
    await ovn.execute(diff(touched, {key: compile_object(key, inventory, CONTEXT) for key in touched}, index))
    assert audit(inventory, CONTEXT, ovn.index()) == Plan()


async def test_without_gateways_northd_has_nothing_to_complain_about(ovn):
    await declare(ovn, *SAMPLE)
    await declare(ovn, *SAMPLE, context=replace(CONTEXT, placement=Placement()))
    assert ovn.sbctl("--bare", "--columns=logical_port", "find", "Port_Binding", "type=chassisredirect") == ""
    assert ovn.complaints() == []


async def test_one_name_for_everything(ovn):
    """Names are unique per kind only; northd must not meet two ports of one name."""
    objects = (
        declared("x", ExternalNetwork(physnet="ext", cidr="172.16.0.0/24", gateway="172.16.0.254")),
        declared("x", Router(external=RouterExternal(network="x")), address="172.16.0.1"),
        declared("x", Port(network="y"), address="192.168.1.11", mac="0a:00:00:00:00:11"),
        declared("y", Network(cidr="192.168.1.0/24", router="x")),
        declared("x", FloatingIP(network="x", port="x"), address="172.16.0.101", mac="0a:00:00:00:00:21"),
    )
    context = replace(CONTEXT, placement=Placement(routers={"x": (("gw1", 100),)}))
    assert not (await declare(ovn, *objects, context=context)).conflicts
    assert ovn.binding("cr-x_x", "type") == "chassisredirect"
    assert ovn.complaints() == []


async def test_static_routes(ovn):
    routes = (Route(to="10.0.0.0/8", via="192.168.1.5"), Route(to="10.0.0.0/8", via="192.168.1.6"))
    router = replace(R1, spec=R1.spec.model_copy(update={"routes": routes}))
    await declare(ovn, PUBLIC, router, BLUE)
    assert flows(ovn, "r1", "lr_in_ip_routing_ecmp", "192.168.1.5")
    assert flows(ovn, "r1", "lr_in_ip_routing_ecmp", "192.168.1.6")
    assert ovn.complaints() == []
