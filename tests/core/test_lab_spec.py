"""A lab's shape: from sizes and files, with every problem at once."""

from __future__ import annotations

import pytest

from ovenbird.lab.spec import OutsideAddress, from_yaml, parse, sized, to_data
from ovenbird.model.cluster import GatewayTimes, Neighbor, Role
from ovenbird.model.errors import UserError


def test_gateways_of_a_routed_lab_have_legs_and_a_neighbor_on_each() -> None:
    text = """
    routed: true
    nodes:
      - {name: c1, roles: [central]}
      - {name: g1, roles: [gateway], uplink: false}
      - {name: n1, roles: [compute]}
      - {name: g2, roles: [gateway]}
    """
    spec = from_yaml(text, name="odd")
    assert [(leg.node, leg.interface, leg.address, leg.neighbor) for leg in spec.legs] == [
        ("g1", "r-g1", "10.98.1.2", "10.98.1.1"),
        ("g2", "r-g2", "10.98.2.2", "10.98.2.1"),
    ]
    hosts = {host.name: host for host in spec.cluster().hosts}
    assert {name: sorted(host.physnets) for name, host in hosts.items()} == {
        "c1": [],
        "g1": ["routed"],
        "n1": ["ext"],
        "g2": ["ext", "routed"],
    }
    assert hosts["g2"].bgp is not None
    assert hosts["g2"].bgp.neighbors == (Neighbor(address="10.98.2.1", asn=64600),)
    assert parse(to_data(spec)) == spec


def test_a_lab_that_is_not_routed_knows_nothing_of_bgp() -> None:
    spec = sized("demo")
    assert spec.legs == ()
    assert not spec.cluster().routed
    with pytest.raises(UserError, match="`routed` must be true or false"):
        parse({"name": "demo", "routed": "yes", "nodes": [{"name": "c1", "roles": ["central"]}]})


def test_sizes_give_names_roles_and_addresses() -> None:
    spec = sized("demo")
    assert [(node.name, node.address) for node in spec.nodes] == [
        ("c1", "10.99.0.1"),
        ("c2", "10.99.0.2"),
        ("c3", "10.99.0.3"),
        ("g1", "10.99.0.4"),
        ("g2", "10.99.0.5"),
        ("n1", "10.99.0.6"),
        ("n2", "10.99.0.7"),
    ]
    cluster = spec.cluster()
    assert [host.name for host in cluster.centrals] == ["c1", "c2", "c3"]
    assert cluster.physnets == {"ext"}
    for name, uplinks in (("c1", {}), ("g1", {"ext": "eth1"}), ("n1", {"ext": "eth1"})):
        host = cluster.host(name)
        assert host is not None
        assert dict(host.uplinks) == uplinks
        assert host.underlay_interface == "eth0"


@pytest.mark.parametrize("sizes", [{}, {"central": 1, "gateways": 0, "computes": 1}, {"central": 5, "gateways": 3}])
def test_what_is_written_is_read_back(sizes: dict[str, int]) -> None:
    spec = sized("demo", **sizes)
    assert parse(to_data(spec)) == spec


def test_a_file_may_mix_roles_choose_addresses_and_tag_the_outside() -> None:
    text = """
    underlay: 10.50.0.0/28
    underlay_mtu: 9000
    bfd: {min_rx_ms: 50, min_tx_ms: 50, mult: 3}
    gateways: {hold_down_s: 2, lost_after_s: 60}
    outside: [{address: 172.16.0.254/24}, {address: 172.17.0.254/24, vlan: 100}]
    nodes:
      - {name: all, roles: [central, gateway, compute]}
      - {name: far, roles: [compute], address: 10.50.0.1, uplink: false, zone: b, weight: 2}
    """
    spec = from_yaml(text, name="odd")
    assert [(node.name, node.address) for node in spec.nodes] == [("all", "10.50.0.2"), ("far", "10.50.0.1")]
    assert spec.nodes[0].roles == frozenset(Role)
    assert spec.outside[1] == OutsideAddress(address="172.17.0.254/24", vlan=100)
    assert [dict(host.uplinks) for host in spec.cluster().hosts] == [{"ext": "eth1"}, {}]
    assert [(host.zone, host.weight) for host in spec.cluster().hosts] == [("", 1), ("b", 2)]
    assert spec.underlay_prefix_length == 28
    assert spec.bfd is not None
    assert spec.bfd.detect_ms == 150
    assert spec.cluster().gateways == GatewayTimes(hold_down_s=2, lost_after_s=60)
    assert parse(to_data(spec)) == spec


def test_every_problem_is_reported_at_once() -> None:
    text = """
    colour: red
    underlay_mtu: 20
    gateways: {lost_after_s: 1, hold_down_s: 700}
    outside: [{address: here}, {address: 172.16.0.1/24, vlan: 5000}]
    nodes:
      - {name: c1, roles: [central]}
      - {name: c1, roles: [king], address: 10.99.0.1}
      - {name: Fabric, roles: [compute], address: 192.0.2.1}
      - {name: outside, roles: [central], uplink: 3}
    """
    with pytest.raises(UserError) as raised:
        from_yaml(text, name="bad", file="lab.yaml")
    words = "\n".join(problem.message for problem in raised.value.problems)
    for part in (
        "unknown field `colour`",
        "`underlay_mtu`",
        "`lost_after_s` must be a number from 10 to 86400",
        "`longest_hold_down_s` is less",
        "outside: bad address",
        "`vlan`",
        "`roles`",
        "`uplink`",
        "bad node name 'Fabric'",
        "bad node name 'outside'",
        "192.0.2.1 is not in the underlay",
        "name c1 is used more than once",
        "1, 3 or 5 central",
    ):
        assert part in words, part


@pytest.mark.parametrize("text", ["[", "- 1", "nodes: 3", "nodes: []", "nodes: [c1]"])
def test_malformed_files(text: str) -> None:
    with pytest.raises(UserError):
        from_yaml(text, name="bad")


@pytest.mark.parametrize("central", [0, 2, 4])
def test_an_even_number_of_central_nodes_is_refused(central: int) -> None:
    with pytest.raises(UserError, match="1, 3 or 5 central"):
        sized("demo", central=central)


def test_a_full_underlay() -> None:
    nodes = [
        {"name": "c1", "roles": ["central"]},
        {"name": "n1", "roles": ["compute"]},
        {"name": "n2", "roles": ["compute"]},
    ]
    with pytest.raises(UserError, match="none left"):
        parse({"name": "tiny", "underlay": "10.0.0.0/30", "nodes": nodes})
