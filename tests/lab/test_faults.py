"""Faults by their results: packets stop and come back, processes stop and go on, power goes and returns."""

from __future__ import annotations

import itertools
import signal
import socket
from collections.abc import Iterator

import pytest
from tests.lab.conftest import hold_pid_file
from tests.waiting import eventually_sync

from ovenbird.lab import partition, wiring
from ovenbird.lab.faults import DidNotBite, Fault, Kill, LinkDown, Partition, PowerOff, Stop, active, heal
from ovenbird.lab.lab import Lab
from ovenbird.lab.node import Node
from ovenbird.lab.probe import socket_of
from ovenbird.model.errors import Refused, UserError

pytestmark = pytest.mark.lab

_ports = itertools.count(20000)


def pings(source: Node, address: str) -> bool:
    return source.run(["ping", "-c", "1", "-W", "1", address], timeout_s=10).ok


def reaches(source: Node, address: str) -> bool:
    """Wait until an address answers again: after a carrier returns, packets may wait for address resolution."""
    return bool(eventually_sync(lambda: pings(source, address), within_s=20))


def passes(source: Node, target: Node, *, port: int = 0) -> bool:
    """Whether one datagram gets from one node to another, in this direction alone; to prove that it can: `gets_to`."""
    port = port or next(_ports)
    assert target.spec is not None
    with (
        socket_of(target.require_init(), socket.SOCK_DGRAM) as receiver,
        socket_of(source.require_init(), socket.SOCK_DGRAM) as sender,
    ):
        receiver.bind((target.spec.address, port))
        receiver.settimeout(0.4)
        sender.sendto(b"there", (target.spec.address, port))
        try:
            return receiver.recv(16) == b"there"
        except TimeoutError:
            return False


def gets_to(source: Node, target: Node, *, port: int = 0) -> bool:
    """Whether datagrams get from one node to another, soon: on a busy machine one of them may be late."""
    return eventually_sync(lambda: passes(source, target, port=port), within_s=20)


def opens(source: Node, target: Node, port: int) -> bool:
    """Whether a TCP connection to this port can be made, soon."""
    return eventually_sync(lambda: connects(source, target, port), within_s=20)


def connects(source: Node, target: Node, port: int) -> bool:
    """Whether a TCP connection to this port can be made at once; to prove that it can: `opens`."""
    assert target.spec is not None
    with (
        socket_of(target.require_init(), socket.SOCK_STREAM) as server,
        socket_of(source.require_init(), socket.SOCK_STREAM) as client,
    ):
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((target.spec.address, port))
        server.listen()
        client.settimeout(0.4)
        try:
            client.connect((target.spec.address, port))
        except TimeoutError:
            return False
        return True


@pytest.fixture
def warm(lab: Lab) -> Lab:
    """The shared lab with every neighbour known, so that a one-way cut is not hidden by address resolution."""
    for source in lab.nodes.values():
        for target in lab.nodes.values():
            if source is not target and target.spec:
                assert reaches(source, target.spec.address)
    return lab


@pytest.fixture
def daemon(lab: Lab) -> Iterator[Node]:
    """Node c1 with a process that holds the pid file of ovn-northd as the real one does."""
    node = lab.nodes["c1"]
    hold_pid_file(node, "ovn-northd")
    yield node
    for left in node.pids().values():
        left.signal(signal.SIGKILL)
        assert left.wait_gone(timeout_s=5)


def inject(fault: Fault) -> Fault:
    fault.inject()
    fault.verify_injected()
    return fault


def test_partition_of_a_node_from_all(warm: Lab) -> None:
    c1, g1, n1 = warm.nodes.values()
    fault = inject(Partition(lab=warm, nodes=("g1",)))
    assert not passes(g1, c1)
    assert not passes(n1, g1)
    assert gets_to(c1, n1)
    fault.heal()
    assert gets_to(g1, c1)
    assert gets_to(n1, g1)
    assert active(warm) == []


@pytest.mark.parametrize("direction", ["in", "out"])
def test_partition_in_one_direction(warm: Lab, direction: partition.Direction) -> None:
    c1, g1, _ = warm.nodes.values()
    inject(Partition(lab=warm, nodes=("g1",), direction=direction))
    open_way, closed_way = ((g1, c1), (c1, g1)) if direction == "in" else ((c1, g1), (g1, c1))
    assert gets_to(*open_way)
    assert not passes(*closed_way)


def test_partition_of_a_pair_leaves_others(warm: Lab) -> None:
    c1, g1, n1 = warm.nodes.values()
    inject(Partition(lab=warm, nodes=("g1",), peers=("n1",)))
    assert not passes(g1, n1)
    assert not passes(n1, g1)
    assert gets_to(g1, c1)
    assert gets_to(c1, n1)


def test_partition_of_a_group_leaves_it_together(warm: Lab) -> None:
    c1, g1, n1 = warm.nodes.values()
    inject(Partition(lab=warm, nodes=("g1", "n1")))
    assert gets_to(g1, n1)
    assert not passes(g1, c1)
    assert not passes(c1, n1)


def test_control_plane_only(warm: Lab) -> None:
    c1, g1, _ = warm.nodes.values()
    fault = inject(Partition(lab=warm, nodes=("c1",), plane="control"))
    for port in (6641, 6642, 6643, 6644, 6661, 6663):
        assert not connects(g1, c1, port), port
        assert not connects(c1, g1, port), port
    assert opens(g1, c1, 6640)
    assert gets_to(g1, c1, port=6081)
    assert reaches(g1, "10.99.0.1")
    fault.heal()
    assert opens(g1, c1, 6642)


def test_data_plane_only(warm: Lab) -> None:
    c1, g1, _ = warm.nodes.values()
    inject(Partition(lab=warm, nodes=("g1",), plane="data"))
    assert not passes(c1, g1, port=6081)
    assert not passes(g1, c1, port=6081)
    assert gets_to(c1, g1, port=6082)
    assert opens(g1, c1, 6642)


def test_established_connections_are_cut_too(warm: Lab) -> None:
    c1, g1, _ = warm.nodes.values()
    assert c1.spec is not None
    with (
        socket_of(c1.require_init(), socket.SOCK_STREAM) as server,
        socket_of(g1.require_init(), socket.SOCK_STREAM) as client,
    ):
        server.bind((c1.spec.address, 6642))
        server.listen()
        client.settimeout(10)
        client.connect((c1.spec.address, 6642))
        with server.accept()[0] as accepted:
            accepted.settimeout(10)
            client.send(b"before")
            assert accepted.recv(16) == b"before"
            accepted.settimeout(0.4)
            fault = inject(Partition(lab=warm, nodes=("g1",), plane="control"))
            client.send(b"during")
            with pytest.raises(TimeoutError):
                accepted.recv(16)
            fault.heal()
            accepted.settimeout(30)
            assert accepted.recv(16) == b"during", "a partition delays, it does not lose what TCP sends again"


def test_overlapping_partitions_are_healed_one_by_one(warm: Lab) -> None:
    c1, g1, n1 = warm.nodes.values()
    first = inject(Partition(lab=warm, nodes=("g1",), peers=("c1",)))
    second = inject(Partition(lab=warm, nodes=("g1",), peers=("n1",)))
    assert [fault.number for fault in active(warm)] == [first.number, second.number]
    first.heal()
    assert gets_to(g1, c1)
    assert not passes(g1, n1)
    first.heal()
    assert [fault.describe() for fault in active(warm)] == ["partition g1 <-x-> n1"]


def test_another_command_heals_from_the_state_file(warm: Lab) -> None:
    inject(Partition(lab=warm, nodes=("g1",)))
    inject(LinkDown(lab=warm, node="n1", interface="eth0"))
    inject(PowerOff(lab=warm, node="c1"))
    later = Lab.open(warm.name, root=warm.file.root)
    healed = [fault.kind for fault in heal(later)]
    assert healed == ["power-off", "link-down", "partition"]
    assert reaches(later.nodes["c1"], "10.99.0.2")
    assert reaches(later.nodes["c1"], "10.99.0.3")
    assert heal(later) == []


def test_heal_of_one_node_leaves_the_faults_of_others(warm: Lab) -> None:
    inject(LinkDown(lab=warm, node="n1", interface="eth0"))
    inject(LinkDown(lab=warm, node="g1", interface="eth1"))
    assert [fault.kind for fault in heal(warm, node="n1")] == ["link-down"]
    assert reaches(warm.nodes["n1"], "10.99.0.1")
    assert [fault.describe() for fault in active(warm)] == ["no carrier on eth1 of g1"]


@pytest.mark.parametrize("interface", ["eth0", "eth1"])
def test_link_down_takes_the_carrier(lab: Lab, interface: str) -> None:
    node = lab.nodes["g1"]
    node.run(["ip", "address", "replace", "172.16.0.9/24", "dev", "eth1"]).checked()
    there = {"eth0": "10.99.0.1", "eth1": "172.16.0.254"}
    other = {"eth0": "172.16.0.254", "eth1": "10.99.0.1"}
    assert reaches(node, there[interface])
    fault = inject(LinkDown(lab=lab, node="g1", interface=interface))
    assert not pings(node, there[interface])
    assert reaches(node, other[interface])
    fault.heal()
    assert reaches(node, there[interface])


def test_a_link_that_is_down_stays_down_over_a_power_cycle(lab: Lab) -> None:
    fault = inject(LinkDown(lab=lab, node="g1", interface="eth0"))
    lab.power_off("g1")
    lab.power_on("g1")
    assert not pings(lab.nodes["g1"], "10.99.0.1")
    fault.heal()
    assert reaches(lab.nodes["g1"], "10.99.0.1")


def test_a_partition_stays_over_a_power_cycle(lab: Lab) -> None:
    inject(Partition(lab=lab, nodes=("g1",)))
    lab.power_off("g1")
    lab.power_on("g1")
    assert not pings(lab.nodes["g1"], "10.99.0.1")


def test_power_off_and_heal(lab: Lab) -> None:
    fault = inject(PowerOff(lab=lab, node="g1"))
    assert not pings(lab.nodes["c1"], "10.99.0.2")
    with pytest.raises(Refused, match="off already"):
        PowerOff(lab=lab, node="g1").inject()
    fault.heal()
    assert reaches(lab.nodes["c1"], "10.99.0.2")


def test_up_ends_a_power_off(lab: Lab) -> None:
    inject(PowerOff(lab=lab, node="g1"))
    lab.up()
    assert lab.nodes["g1"].is_up
    assert active(lab) == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_kill_ends_the_daemon(lab: Lab, daemon: Node, number: signal.Signals) -> None:
    inject(Kill(lab=lab, node="c1", daemon="northd", number_of_signal=number))
    assert daemon.pids() == {}
    assert active(lab) == [], "nothing to heal"


def test_stop_and_continue(lab: Lab, daemon: Node) -> None:
    victim = daemon.daemon("northd")
    fault = inject(Stop(lab=lab, node="c1", daemon="northd"))
    assert victim.state == "T"
    with pytest.raises(Refused, match="stopped already"):
        Stop(lab=lab, node="c1", daemon="northd").inject()
    fault.heal()
    assert eventually_sync(lambda: victim.state in ("R", "S"), within_s=10)
    assert active(lab) == []


def test_what_is_not_there_cannot_be_broken(lab: Lab) -> None:
    with pytest.raises(UserError, match="no daemon ovn-controller runs on c1"):
        Kill(lab=lab, node="c1", daemon="ovn-controller").inject()
    with pytest.raises(UserError, match="has no node g9"):
        PowerOff(lab=lab, node="g9").inject()
    with pytest.raises(UserError, match="c1 has no interface eth1"):
        LinkDown(lab=lab, node="c1", interface="eth1").inject()
    with pytest.raises(Refused, match="both sides"):
        Partition(lab=lab, nodes=("g1",), peers=("g1",)).inject()
    with pytest.raises(Refused, match="not on the underlay"):
        Partition(lab=lab, nodes=("outside",)).inject()
    with pytest.raises(Refused, match="nobody is on the other side"):
        Partition(lab=lab, nodes=tuple(lab.nodes)).inject()
    assert active(lab) == []


def test_a_fault_that_does_not_bite_is_an_error(lab: Lab) -> None:
    fault = Partition(lab=lab, nodes=("g1",))
    fault.inject()
    wiring.in_network_of(lab.fabric.require_init(), ["nft", "flush", "chain", "bridge", partition.TABLE, "forward"])
    with pytest.raises(DidNotBite, match="no effect"):
        fault.verify_injected(timeout_s=0.3)
