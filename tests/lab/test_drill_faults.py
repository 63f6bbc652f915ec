"""Faults of drills by their results: each bites, each heals, and none outlives its time limit or its runner."""

from __future__ import annotations

import itertools
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.lab.conftest import hold_pid_file, small, unique_name
from tests.waiting import eventually_sync

from ovenbird.drill.fault import Composite, Fault, make_fault
from ovenbird.lab import boot
from ovenbird.lab.faults import active, heal
from ovenbird.lab.lab import Lab, remove
from ovenbird.lab.node import Node
from ovenbird.lab.probe import socket_of
from ovenbird.lab.process import Process
from ovenbird.lab.relay import relay
from ovenbird.model.errors import OvenbirdError, Refused, Timeout, UserError

pytestmark = pytest.mark.lab

_ports = itertools.count(30000)
_SO_RCVBUFFORCE = 33
"""socket(7): beyond the host's limit, for root."""
BURST = 50
"""Datagrams that are sent at once: the kernel drops what comes while a thousand wait, from all labs together."""


def inject(fault: Fault) -> Fault:
    fault.inject()
    fault.verify_injected()
    return fault


def received(source: Node, target: Node, count: int, *, size: int = 100, port: int = 0) -> int:
    """How many of so many datagrams get from one node to another; fewer than do if the machine is busy, never more."""
    port = port or next(_ports)
    assert target.spec is not None
    with (
        socket_of(target.require_init(), socket.SOCK_DGRAM) as receiver,
        socket_of(source.require_init(), socket.SOCK_DGRAM) as sender,
    ):
        receiver.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 4_000_000)
        receiver.bind((target.spec.address, port))
        receiver.settimeout(0.4)
        arrived = 0
        for sent in range(1, count + 1):
            sender.sendto(b"\0" * size, (target.spec.address, port))
            if sent % BURST == 0:
                arrived += _next(receiver) is not None
        return arrived + sum(1 for _ in iter(lambda: _next(receiver), None))


def all_arrive(source: Node, target: Node, count: int, *, size: int = 100) -> bool:
    """Whether every one of so many datagrams gets there, soon: a busy machine may hold up or drop some of a burst."""
    return eventually_sync(lambda: received(source, target, count, size=size) == count, within_s=30)


def reaches(source: Node, target: Node) -> bool:
    """Whether packets get there, soon: a neighbour that could not be found is only asked for again after a second."""
    return eventually_sync(lambda: received(source, target, 1) == 1, within_s=20)


def _next(receiver: socket.socket) -> bytes | None:
    try:
        return receiver.recv(2000)
    except TimeoutError:
        return None


def keeper_of(lab: Lab) -> Process | None:
    return lab.file.require().keeper


@pytest.fixture
def northd(lab: Lab) -> Iterator[Node]:
    """Node c1 with a process that holds the pid file of ovn-northd as the real one does."""
    node = lab.nodes["c1"]
    hold_pid_file(node, "ovn-northd")
    yield node
    for left in node.pids().values():
        left.signal(signal.SIGKILL)
        assert left.wait_gone(timeout_s=20)


def test_noop_is_a_fault_that_does_nothing(lab: Lab) -> None:
    fault = inject(make_fault(lab, "noop", []))
    assert fault.injected_ns is not None
    assert active(lab) == []
    fault.heal()


def test_a_fault_heals_itself_at_its_limit(lab: Lab) -> None:
    c1, g1, _ = lab.nodes.values()
    fault = inject(make_fault(lab, "partition", ["g1"], limit_s=3))
    assert reaches(c1, g1)
    eventually_sync(lambda: not fault.is_active, within_s=20)
    eventually_sync(lambda: keeper_of(lab) is None, within_s=20)


def test_a_healed_fault_needs_no_keeper_any_more(lab: Lab) -> None:
    fault = inject(make_fault(lab, "partition", ["g1"], limit_s=60))
    keeper = keeper_of(lab)
    assert keeper is not None
    assert keeper.is_alive
    fault.heal()
    eventually_sync(lambda: not keeper.is_alive, within_s=20)
    assert keeper_of(lab) is None


RUNNER = """
import os, sys
from ovenbird.drill.fault import make_fault
from ovenbird.lab.lab import Lab, remove
from pathlib import Path
lab = Lab.open(sys.argv[1], root=Path(sys.argv[2]))
fault = make_fault(lab, "power-off", ["g1"], limit_s=float(sys.argv[3]))
fault.inject(); fault.verify_injected()
os.kill(os.getpid(), 9)
"""


def killed_runner(lab: Lab, limit_s: float) -> None:
    command = [sys.executable, "-c", RUNNER, lab.name, str(lab.file.root), str(limit_s)]
    assert subprocess.run(command, timeout=90, check=False).returncode == -signal.SIGKILL


def test_the_next_command_heals_what_a_killed_runner_left(lab: Lab) -> None:
    killed_runner(lab, 60)
    assert not lab.nodes["g1"].is_up
    assert [fault.describe() for fault in heal(Lab.open(lab.name, root=lab.file.root))] == ["power off of g1"]
    assert lab.nodes["g1"].is_up


def test_what_a_killed_runner_left_heals_itself_at_its_limit(lab: Lab) -> None:
    killed_runner(lab, 1)
    eventually_sync(lambda: lab.nodes["g1"].is_up and active(lab) == [], within_s=45)


def test_heal_does_not_need_the_keeper(lab: Lab) -> None:
    c1, g1, _ = lab.nodes.values()
    fault = inject(make_fault(lab, "partition", ["g1"], limit_s=60))
    keeper = keeper_of(lab)
    assert keeper is not None
    keeper.signal(signal.SIGKILL)
    fault.heal()
    assert reaches(c1, g1)


def test_a_crash_loop_kills_a_daemon_whenever_it_is_back(lab: Lab, northd: Node) -> None:
    first = northd.daemon("northd")
    script = (
        "import fcntl,time; open('/run/ovn/starts','a').write('.'); f=open('/run/ovn/ovn-northd.pid','w');"
        " fcntl.lockf(f,fcntl.LOCK_EX); time.sleep(600)"
    )
    again = f"for i in 1 2 3; do python3 -c {shlex.quote(script)}; done"
    northd.run(["sh", "-c", f"setsid sh -c {shlex.quote(again)} < /dev/null > /dev/null 2>&1 &"]).checked()
    fault = inject(make_fault(lab, "crash-loop", ["c1"], daemon="northd", times=3))
    eventually_sync(lambda: not fault.is_active, within_s=45)
    assert not first.is_alive
    last = eventually_sync(lambda: northd.pids().get("ovn-northd"), within_s=30)
    assert northd.path("/run/ovn/starts").read_text() == "...", "the first and two of these were killed"
    assert last is not None
    assert last.is_alive


def test_a_healed_crash_loop_leaves_the_daemon_alone(lab: Lab, northd: Node) -> None:
    fault = inject(make_fault(lab, "crash-loop", ["c1"], daemon="northd", times=3))
    keeper = keeper_of(lab)
    assert keeper is not None
    fault.heal()
    back = hold_pid_file(northd, "ovn-northd")
    eventually_sync(lambda: not keeper.is_alive, within_s=20)
    assert back.is_alive


def test_a_flapping_link_comes_and_goes_and_stays(lab: Lab) -> None:
    node = lab.nodes["g1"]
    losses = node.path("/sys/class/net/eth1/carrier_down_count")
    before = int(losses.read_text())
    fault = inject(make_fault(lab, "link-flap", ["g1"], interface="eth1", times=3, down_s=0.2, up_s=0.2))
    eventually_sync(lambda: not fault.is_active, within_s=45)
    assert int(losses.read_text()) - before == 3
    assert node.path("/sys/class/net/eth1/carrier").read_text() == "1\n"


def test_loss_drops_about_that_share(lab: Lab) -> None:
    c1, g1, n1 = lab.nodes.values()
    fault = inject(make_fault(lab, "loss", ["g1"], percent=30, direction="out"))
    assert 550 <= received(g1, c1, 1000) <= 850
    assert all_arrive(c1, g1, 200)
    assert all_arrive(c1, n1, 200)
    fault.heal()
    assert all_arrive(g1, c1, 200)


def test_a_rate_lets_no_more_through(lab: Lab) -> None:
    c1, g1, _ = lab.nodes.values()
    fault = inject(make_fault(lab, "rate", ["g1"], kbit_per_s=800))
    start = time.monotonic()
    arrived = received(g1, c1, 400, size=1000) * 1000
    took_s = time.monotonic() - start
    assert 0 < arrived <= 20_000 + 100_000 * took_s
    fault.heal()
    assert all_arrive(g1, c1, 400, size=1000)


@pytest.mark.parametrize("plane", ["control", "data"])
def test_loss_and_rate_of_one_plane_bite(lab: Lab, plane: str) -> None:
    c1, g1, _ = lab.nodes.values()
    inject(make_fault(lab, "loss", ["g1"], percent=50, plane=plane))
    inject(make_fault(lab, "rate", ["g1"], kbit_per_s=100, plane=plane))
    assert all_arrive(g1, c1, 200)


def test_two_faults_at_once(lab: Lab) -> None:
    c1 = lab.nodes["c1"]
    fault = inject(make_fault(lab, "power-off", ["g1", "n1"], limit_s=60))
    assert not lab.nodes["g1"].is_up
    assert not lab.nodes["n1"].is_up
    fault.heal()
    assert lab.nodes["g1"].is_up
    assert reaches(lab.nodes["n1"], c1)
    assert active(lab) == []


def test_faults_of_different_kinds_at_once(lab: Lab, northd: Node) -> None:
    c1, g1, n1 = lab.nodes.values()
    stop = make_fault(lab, "stop", ["c1"], daemon="northd", limit_s=60)
    cut = make_fault(lab, "partition", ["g1"], peers=["n1"], limit_s=60)
    off = make_fault(lab, "link-down", ["g1", "n1"], interface="eth1", limit_s=60)
    both = Composite.of(stop, cut, off)
    inject(both)
    assert [fault.kind for fault in active(lab)] == ["stop", "partition", "link-down", "link-down"]
    assert northd.daemon("northd").state == "T"
    assert received(g1, n1, 1) == 0
    both.heal()
    both.heal()
    assert active(lab) == []
    assert northd.daemon("northd").state in "RS"
    assert reaches(g1, n1)
    assert reaches(c1, n1)


def test_of_two_faults_neither_is_injected_if_one_cannot_be(lab: Lab) -> None:
    lab.power_off("n1")
    with pytest.raises(Refused, match="off already"):
        make_fault(lab, "power-off", ["g1", "n1"]).inject()
    assert lab.nodes["g1"].is_up
    assert active(lab) == []


def test_nonsense_is_said(lab: Lab) -> None:
    with pytest.raises(UserError, match="no fault earthquake"):
        make_fault(lab, "earthquake", ["g1"])
    with pytest.raises(UserError, match="colour"):
        make_fault(lab, "kill", ["g1"], colour="red")
    with pytest.raises(UserError, match="no target"):
        make_fault(lab, "kill", [], daemon="northd")
    with pytest.raises(UserError, match="200%"):
        make_fault(lab, "loss", ["g1"], percent=200).inject()


def test_down_ends_the_keeper_and_gives_the_volumes_back(root: Path) -> None:
    made = Lab.create(small(unique_name()), agents=False, root=root)
    inject(make_fault(made, "power-off", ["g1"], limit_s=60))
    keeper = keeper_of(made)
    assert keeper is not None
    assert keeper.is_alive
    assert str(made.file.directory) in loop_devices()
    remove(made.name, root=root)
    assert not keeper.is_alive
    assert not root.exists()
    eventually_sync(lambda: str(made.file.directory) not in loop_devices(), within_s=30)


def loop_devices() -> str:
    return subprocess.run(["losetup", "--list"], capture_output=True, text=True, timeout=10, check=True).stdout


def round_trip_ms(source: Node, address: str) -> float:
    answer = source.run(["ping", "-q", "-c", "5", "-i", "0.05", "-W", "10", address], timeout_s=60).checked().stdout
    return float(answer.rpartition("= ")[2].split("/")[0])


def test_a_delay_holds_packets_up_and_loses_none(lab: Lab) -> None:
    c1, g1, n1 = lab.nodes.values()
    fault = inject(make_fault(lab, "delay", ["g1"], delay_ms=40))
    assert 80 <= round_trip_ms(c1, "10.99.0.2") < 250
    assert round_trip_ms(c1, "10.99.0.3") < 40
    assert all_arrive(c1, g1, 300)
    assert all_arrive(g1, n1, 300)
    inject(make_fault(lab, "partition", ["g1"], peers=["n1"]))
    assert received(g1, n1, 1) == 0
    assert reaches(g1, c1)
    fault.heal()
    assert round_trip_ms(c1, "10.99.0.2") < 40
    assert received(g1, n1, 1) == 0


def test_a_delay_lasts_over_a_power_cycle_and_heals(lab: Lab) -> None:
    c1 = lab.nodes["c1"]
    fault = inject(make_fault(lab, "delay", ["g1"], delay_ms=30))
    lab.power_off("g1")
    lab.power_on("g1")
    fault.verify_injected(timeout_s=30)
    fault.heal()
    assert round_trip_ms(c1, "10.99.0.2") < 30


def test_a_killed_keeper_leaves_a_delay_that_heals(lab: Lab) -> None:
    c1 = lab.nodes["c1"]
    inject(make_fault(lab, "delay", ["g1"], delay_ms=30))
    keeper = keeper_of(lab)
    assert keeper is not None
    keeper.signal(signal.SIGKILL)
    assert keeper.wait_gone(timeout_s=20)
    assert not c1.run(["ping", "-c", "1", "-W", "1", "10.99.0.2"]).ok
    heal(lab)
    assert round_trip_ms(c1, "10.99.0.2") < 30


def test_the_relay_adds_only_the_delay_it_was_told() -> None:
    near, one = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    far, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    over = threading.Event()
    work = threading.Thread(target=relay, args=(one, other, over), kwargs={"delay_s": 0.05, "jitter_s": 0.02})
    work.start()
    try:
        far.settimeout(10)
        sent = []
        for number in range(100):
            sent.append(time.monotonic())
            near.send(number.to_bytes(2, "big"))
        late_s = []
        for number in range(100):
            assert int.from_bytes(far.recv(16), "big") == number, "order is kept"
            late_s.append(time.monotonic() - sent[number])
        assert min(late_s) >= 0.05
        assert sorted(late_s)[50] < 1
    finally:
        over.set()
        work.join()
        for end in (near, one, far, other):
            end.close()


def write(node: Node, path: str) -> None:
    node.run(["dd", "if=/dev/zero", f"of={path}", "bs=4096", "count=1", "conv=fsync"]).checked()


def test_a_full_disk_takes_nothing_until_the_space_is_back(lab: Lab) -> None:
    c1 = lab.nodes["c1"]
    write(c1, "/var/lib/ovn/before")
    fault = inject(make_fault(lab, "disk-full", ["c1"]))
    for directory in ("/var/lib/ovn", "/var/lib/ovenbird"):
        with pytest.raises(OvenbirdError) as raised:
            write(c1, f"{directory}/during")
        assert "No space left" in raised.value.evidence
    assert c1.run(["cmp", "-n", "4096", "/var/lib/ovn/before", "/dev/zero"]).ok, "what was there is still there"
    write(c1, "/var/log/ovn/during")
    fault.heal()
    write(c1, "/var/lib/ovn/after")


def test_a_central_node_keeps_its_volume_over_power_cycles(lab: Lab) -> None:
    c1 = lab.nodes["c1"]
    for cycle in range(4):
        c1.run(["sh", "-c", f"echo {cycle} >> /var/lib/ovn/kept"]).checked()
        lab.power_off("c1")
        lab.power_on("c1")
        assert loop_devices().count(str(c1.directory)) == 1
    assert c1.run(["cat", "/var/lib/ovn/kept"]).stdout == "0\n1\n2\n3\n"


def test_a_volume_that_is_still_in_use_is_not_mounted_twice(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boot, "_BOOT_TIMEOUT_S", 0.5)
    c1 = lab.nodes["c1"]
    held = os.open(c1.path("/var/lib/ovn"), os.O_RDONLY)  # as any process of the machine that looks into the node
    try:
        lab.power_off("c1")
        with pytest.raises(Timeout, match=r"volume\.img is still in use"):
            lab.power_on("c1")
    finally:
        os.close(held)
    monkeypatch.undo()
    assert lab.power_on("c1")


def test_only_a_disk_of_its_own_can_be_full(lab: Lab) -> None:
    with pytest.raises(Refused, match="host's own file system"):
        make_fault(lab, "disk-full", ["g1"]).inject()
