"""What a chassis host's Open vSwitch must hold, and the steps to get there."""

from __future__ import annotations

from dataclasses import replace

from ovenbird.model.addresses import parse_mac
from ovenbird.model.cluster import Cluster, Host, Role
from ovenbird.plan.switch import (
    AddBridge,
    AddPort,
    BridgeView,
    Datapath,
    PortView,
    RemovePort,
    SetInterface,
    SetKeys,
    SwitchView,
    WantedPort,
    WantedSwitch,
    interface_name,
    plan_switch,
    provider_bridge,
    wanted_switch,
)

CENTRALS = tuple(Host(name=f"c{i}", address=f"10.0.0.{i}", roles=frozenset({Role.CENTRAL})) for i in (1, 2, 3))
GATEWAY = Host(
    name="g1", address="10.0.0.11", roles=frozenset({Role.GATEWAY}), uplinks={"ext": "eth1"}, underlay_interface="eth0"
)
COMPUTE = Host(name="n1", address="10.0.0.21", roles=frozenset({Role.COMPUTE}))
CLUSTER = Cluster(name="t", hosts=(*CENTRALS, GATEWAY, COMPUTE))
VM1 = WantedPort(
    name="w-vm1", mark="attachment:vm1", interface_ids={"iface-id": "vm1", "attached-mac": "02:00:00:00:00:01"}
)


def applied(wanted: WantedSwitch) -> SwitchView:
    """The switch as it is once everything wanted was carried out."""
    return SwitchView(
        uuid="root",
        external_ids={key: value for key, value in wanted.external_ids.items() if value is not None},
        bridges={
            bridge.name: BridgeView(
                uuid=f"bridge {bridge.name}",
                datapath_type=bridge.datapath_type,
                secure=bridge.secure,
                mac=bridge.mac,
                ports={
                    port.name: PortView(
                        uuid=f"port {port.name}",
                        mark=port.mark,
                        interface_uuid=f"interface {port.name}",
                        interface_ids=port.interface_ids,
                    )
                    for port in bridge.ports
                },
            )
            for bridge in wanted.bridges
        },
    )


def with_port(view: SwitchView, bridge: str, name: str, port: PortView | None) -> SwitchView:
    ports = {key: value for key, value in view.bridges[bridge].ports.items() if key != name}
    if port is not None:
        ports[name] = port
    return replace(view, bridges={**view.bridges, bridge: replace(view.bridges[bridge], ports=ports)})


def wanted(host: Host = GATEWAY, datapath: Datapath = Datapath.NETDEV, **more: object) -> WantedSwitch:
    return wanted_switch(CLUSTER, host, datapath, underlay_mac="02:00:00:00:00:aa", **more)  # type: ignore[arg-type]


def test_a_gateways_settings():
    ids = wanted().external_ids
    assert ids["system-id"] == "g1"
    assert ids["ovn-remote"] == "tcp:10.0.0.1:6642,tcp:10.0.0.2:6642,tcp:10.0.0.3:6642"
    assert ids["ovn-encap-ip"] == "10.0.0.11"
    assert ids["ovn-bridge-mappings"] == "ext:br-ext,ext_vlans:br-ext"
    assert ids["ovn-cms-options"] == "enable-chassis-as-gw"
    assert ids["ovn-bridge-datapath-type"] == "netdev"


def test_a_hosts_zone_is_told_as_other_managers_of_ovn_read_it():
    assert wanted(replace(GATEWAY, zone="east")).external_ids["ovn-cms-options"] == (
        "enable-chassis-as-gw,availability-zones=east"
    )


def chassis_macs(host: Host) -> dict[str, str]:
    said = str(wanted(host).external_ids["ovn-chassis-mac-mappings"])
    return {name: parse_mac(mac) for name, _, mac in (each.partition(":") for each in said.split(","))}


def test_each_host_has_addresses_of_its_own_where_routers_speak_from_every_host():
    compute = replace(COMPUTE, uplinks=GATEWAY.uplinks)
    # A gateway must speak with its routers' own address on their external networks.
    assert set(chassis_macs(GATEWAY)) == {"ext_vlans"}
    assert set(chassis_macs(compute)) == {"ext", "ext_vlans"}
    macs = [mac for host in (GATEWAY, replace(GATEWAY, name="g2"), compute) for mac in chassis_macs(host).values()]
    assert len(set(macs)) == 4


def test_a_compute_host_offers_itself_not_as_gateway():
    ids = wanted(COMPUTE, Datapath.SYSTEM).external_ids
    assert (ids["ovn-cms-options"], ids["ovn-bridge-mappings"], ids["ovn-bridge-datapath-type"]) == (None, None, None)


def test_only_the_userspace_datapath_takes_the_underlay():
    assert {bridge.name for bridge in wanted().bridges} == {"br-int", "br-ext", "br-phy"}
    assert {bridge.name for bridge in wanted(datapath=Datapath.SYSTEM).bridges} == {"br-int", "br-ext"}


def test_a_new_switch_gets_everything_at_once():
    steps = plan_switch(wanted(), SwitchView(uuid="", external_ids={}, bridges={}))
    assert {type(step) for step in steps} == {SetKeys, AddBridge}
    assert len(steps) == 4


def test_a_switch_as_wanted_needs_nothing():
    want = wanted(attached=(VM1,))
    assert plan_switch(want, applied(want)) == ()


def test_only_the_wrong_key_is_written_and_a_stale_one_removed():
    view = applied(wanted(COMPUTE))
    view = replace(
        view, external_ids={**view.external_ids, "ovn-encap-ip": "10.9.9.9", "ovn-cms-options": "x", "rundir": "/run"}
    )
    assert plan_switch(wanted(COMPUTE), view) == (
        SetKeys({"ovn-encap-ip": "10.0.0.21"}, frozenset({"ovn-cms-options"})),
    )


def test_ports_of_others_stay():
    tunnel = PortView(uuid="p", mark="", interface_uuid="i", interface_ids={})
    assert plan_switch(wanted(), with_port(applied(wanted()), "br-int", "ovn-n1-0", tunnel)) == ()


def test_a_workload_that_this_agent_does_not_know_stays_plugged():
    view = applied(wanted(attached=(VM1,)))
    assert plan_switch(wanted(), view) == ()


def test_a_detached_workload_is_unplugged():
    view = applied(wanted(attached=(VM1,)))
    steps = plan_switch(wanted(absent=frozenset({VM1.mark})), view)
    assert steps == (RemovePort("bridge br-int", "port w-vm1", "w-vm1"),)


def test_a_lost_workload_port_is_plugged_again():
    want = wanted(attached=(VM1,))
    assert plan_switch(want, with_port(applied(want), "br-int", "w-vm1", None)) == (AddPort("bridge br-int", VM1),)


def test_a_changed_mac_is_told_to_the_interface_only():
    view = applied(wanted(attached=(VM1,)))
    moved = replace(VM1, interface_ids={**VM1.interface_ids, "attached-mac": "02:00:00:00:00:99"})
    steps = plan_switch(wanted(attached=(moved,)), view)
    assert steps == (SetInterface("interface w-vm1", {"attached-mac": "02:00:00:00:00:99"}),)


def test_an_uplink_that_moved_to_another_interface():
    moved = replace(GATEWAY, uplinks={"ext": "eth7"})
    steps = plan_switch(wanted(moved), applied(wanted()))
    assert steps == (
        AddPort("bridge br-ext", WantedPort(name="eth7", mark="uplink")),
        RemovePort("bridge br-ext", "port eth1", "eth1"),
    )


def test_interface_names_fit_and_differ():
    long = [interface_name("w-", f"a-rather-long-port-name-{i}") for i in range(50)]
    assert all(len(name) <= 15 for name in long)
    assert len(set(long)) == 50
    assert provider_bridge("ext") == "br-ext"
    assert len(provider_bridge("a-long-physical-network")) <= 15
