"""Routes of what a gateway carries, and what BIRD is told and says."""

from __future__ import annotations

import pytest
from tests.core.samples import declared

from ovenbird.model.cluster import Bfd, Bgp, Neighbor
from ovenbird.model.objects import ExternalNetwork, Network, Router
from ovenbird.plan.announcing import Announcement
from ovenbird.plan.bird import Session, configuration, read_sessions, uplink_finding
from ovenbird.plan.fitness import State
from ovenbird.plan.routed import CarriedRoute, RoutedNetwork, carried_routes, changes, routed_networks, rules

NET = RoutedNetwork(
    name="net",
    physnet="routed",
    cidr="172.20.0.0/24",
    gateway="172.20.0.254",
    behind=(("172.20.0.9", "10.1.0.0/24"), ("172.20.0.9", "10.2.0.0/24")),
)
BRIDGE = "br-routed"
R1, R9, FLOATING = "172.20.0.1", "172.20.0.9", "172.20.0.101"


def carried(*addresses: str, physnet: str = "routed", vlan: int = 0) -> list[Announcement]:
    return [Announcement("net_localnet", physnet, vlan, "0a:00:00:00:00:01", address) for address in addresses]


def test_what_is_carried_has_a_route_and_with_a_router_go_the_networks_behind_it() -> None:
    assert carried_routes(carried(R1, FLOATING), [NET]) == {CarriedRoute(R1, BRIDGE), CarriedRoute(FLOATING, BRIDGE)}
    assert carried_routes(carried(R9), [NET]) == {
        CarriedRoute(R9, BRIDGE),
        CarriedRoute("10.1.0.0/24", BRIDGE, R9),
        CarriedRoute("10.2.0.0/24", BRIDGE, R9),
    }
    assert carried_routes([], [NET]) == frozenset()


def test_nothing_is_routed_that_lies_elsewhere() -> None:
    elsewhere = [*carried(R1, physnet="ext"), *carried(R1, vlan=7), *carried("192.0.2.1", "2001:db8::1", "")]
    assert carried_routes(elsewhere, [NET]) == frozenset()
    assert carried_routes(carried(R1), []) == frozenset()


def test_new_routes_come_before_old_ones_go_and_what_stays_is_left_alone() -> None:
    there = {CarriedRoute(R1, BRIDGE), CarriedRoute("10.1.0.0/24", BRIDGE, R9)}
    wanted = {CarriedRoute(R1, BRIDGE), CarriedRoute(FLOATING, BRIDGE)}
    assert changes(wanted, wanted) == ()
    assert changes(wanted, there) == (
        f"route replace {FLOATING} dev {BRIDGE} proto 111 table 111",
        f"route del 10.1.0.0/24 via {R9} dev {BRIDGE} proto 111 table 111 onlink",
    )


def test_a_prefix_that_moves_to_another_router_is_replaced_and_not_deleted() -> None:
    before, after = (CarriedRoute("10.1.0.0/24", BRIDGE, via) for via in (R9, R1))
    assert changes({after}, {before}) == (
        f"route replace 10.1.0.0/24 via {R1} dev {BRIDGE} proto 111 table 111 onlink",
    )


def test_packets_of_routers_never_take_the_host_s_own_default_route() -> None:
    assert rules(["b", "a"], [NET, NET]) == (
        "iif br-a lookup 111",
        "iif br-b lookup 111",
        "lookup 111 suppress_prefixlength 0",
        "iif br-a unreachable",
        "iif br-b unreachable",
        "to 172.20.0.0/24 lookup 111",
    )
    assert rules([], []) == (), "a host that routes to nothing has nothing of ours"


def test_networks_are_those_on_routed_physical_networks_with_prefixes_that_are_not_translated() -> None:
    objects = [
        declared("net", ExternalNetwork(physnet="routed", cidr=NET.cidr, gateway=NET.gateway)),
        declared("other", ExternalNetwork(physnet="ext", cidr="172.16.0.0/24", gateway="172.16.0.254")),
        declared("plain", Router.model_validate({"external": {"network": "net", "snat": False}}), address=R9),
        declared("nat", Router.model_validate({"external": {"network": "net"}}), address=R1),
        declared("red", Network(cidr="10.2.0.0/24", router="plain")),
        declared("blue", Network(cidr="10.1.0.0/24", router="plain")),
        declared("green", Network(cidr="10.3.0.0/24", router="nat")),
        declared("alone", Network(cidr="10.4.0.0/24")),
    ]
    assert routed_networks(objects, ["routed"]) == (NET,)
    assert routed_networks(objects, []) == ()


ANSWER = """\
1002-device1    Device     ---        up     06:14:20.913
1006-
1002-carried    Kernel     master4    up     06:14:20.913
1006-  Channel ipv4
1006-    State:          UP
1006-    Routes:         7 imported, 1 exported, 0 preferred
1002-n1         BGP        ---        up     06:14:21.767  Established
1006-  BGP state:          Established
1006-    Neighbor address: 10.98.1.1
1006-    Neighbor AS:      64600
1006-    Source address:   10.98.1.2
1006-  Channel ipv4
1006-    Routes:         1 imported, 3 exported, 1 preferred
1002-n2         BGP        ---        start  06:14:22.001  Connect       Socket: Connection refused
1006-  BGP state:          Connect
1006-    Neighbor address: 10.98.1.5
1006-    Neighbor AS:      64600
1006-    Last error:       Socket: Connection refused
1006-  Channel ipv4
1006-    State:          DOWN
1002-n3         BGP        ---        down   06:14:22.001
1006-  BGP state:          Down
1006-    Neighbor address: 10.98.1.9
0000 """


def answer() -> list[tuple[str, str]]:
    return [(line[:4], line[5:]) for line in ANSWER.splitlines()]


def test_sessions_are_read_from_what_bird_says() -> None:
    assert read_sessions(answer()) == (
        Session("10.98.1.1", "Established", 1),
        Session("10.98.1.5", "Connect", 0, "Socket: Connection refused"),
        Session("10.98.1.9", "Down"),
    )
    assert read_sessions([]) == ()


UP, SILENT = Session("10.98.1.1", "Established", 1), Session("10.98.1.9", "Established", 0)
DEAD = Session("10.98.1.5", "Active", 0, "BFD session down")


@pytest.mark.parametrize(
    ("sessions", "state", "evidence"),
    [
        ([UP], State.OK, "BGP with 10.98.1.1"),
        ([DEAD, UP], State.OK, "BGP with 10.98.1.1"),
        ([DEAD], State.BAD, "no BGP session with 10.98.1.5 (BFD session down)"),
        ([DEAD, SILENT], State.BAD, "10.98.1.9 sends no default route"),
        ([], State.BAD, "no neighbor"),
    ],
)
def test_one_neighbor_that_knows_the_way_is_enough(sessions: list[Session], state: State, evidence: str) -> None:
    found = uplink_finding(sessions)
    assert found.state is state
    assert evidence in found.evidence


def test_timers_of_bfd_are_the_host_s_own_or_those_of_the_tunnels() -> None:
    neighbors = (Neighbor(address="10.98.1.1", asn=64600), Neighbor(address="10.98.1.5", asn=64999))
    bgp = Bgp(asn=64601, physnets=("routed",), neighbors=neighbors)
    text = configuration(bgp, "10.99.0.2", Bfd(min_rx_ms=210, min_tx_ms=220, mult=4), "/var/log/bird.log")
    assert "min rx interval 210 ms; min tx interval 220 ms; multiplier 4;" in text
    assert [line.strip() for line in text.splitlines() if "neighbor" in line] == [
        "neighbor 10.98.1.1 as 64600;",
        "neighbor 10.98.1.5 as 64999;",
    ]
    own = Bgp(asn=64601, physnets=("routed",), neighbors=neighbors, bfd=Bfd(min_rx_ms=50, min_tx_ms=60, mult=3))
    assert "min rx interval 50 ms; min tx interval 60 ms; multiplier 3;" in configuration(own, "10.99.0.2", Bfd(), "l")
