"""A lab's life: up, repair, down; and nothing left behind, whatever happened half-way."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.lab.conftest import small, unique_name
from tests.waiting import eventually_sync

import ovenbird
from ovenbird.lab.boot import start_init
from ovenbird.lab.lab import Lab, remove
from ovenbird.lab.process import Process, boot_id
from ovenbird.lab.spec import sized
from ovenbird.lab.state import StateFile, names
from ovenbird.model.errors import Refused, UserError

pytestmark = pytest.mark.lab


def machine() -> dict[str, list[str]]:
    """What a lab could leave behind on the machine, apart from processes; labs do not use `ip netns`, others may."""
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True, timeout=10).stdout
    spaces = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True, timeout=10).stdout
    return {
        "links": sorted(line.split()[1] for line in links.splitlines()),
        "netns": sorted(spaces.splitlines()),
        "mounts": sorted(
            line for line in Path("/proc/self/mounts").read_text().splitlines() if " /run/netns" not in line
        ),
    }


def processes_of(root: Path) -> list[str]:
    """Command lines that name a path below `root`, and every process in a PID namespace of such a one."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if str(root) in line and "pytest" not in line:
                found.append(f"{entry.name} {line}")
    return found


@pytest.fixture
def before() -> Iterator[dict[str, list[str]]]:
    yield machine()


def test_down_leaves_the_machine_as_it_was(root: Path, before: dict[str, list[str]]) -> None:
    name = unique_name()
    lab = Lab.create(small(name), agents=False, root=root)
    inits = [node.require_init() for node in (*lab.nodes.values(), lab.outside, lab.fabric)]
    daemon = "setsid sleep 777 > /dev/null 2>&1 < /dev/null & ip netns add vm1"
    lab.nodes["c1"].run(["sh", "-c", daemon]).checked()
    inside = [process for node in lab.nodes.values() for process in node.processes()]
    assert machine() == before, "nothing of a lab may be visible on the machine while it runs"
    assert len(inside) > len(lab.nodes)

    assert remove(name, root=root)
    assert not any(process.is_alive for process in [*inits, *inside])
    assert machine() == before
    assert processes_of(root) == []
    assert not root.exists()
    assert not remove(name, root=root)


def test_up_again_does_nothing(root: Path) -> None:
    name = unique_name()
    lab = Lab.create(small(name), agents=False, root=root)
    inits = {node.name: node.init for node in (*lab.nodes.values(), lab.outside, lab.fabric)}
    said: list[str] = []
    Lab.create(small(name), agents=False, root=root, progress=said.append)
    assert said == []
    assert {node.name: node.init for node in (*lab.nodes.values(), lab.outside, lab.fabric)} == inits


def test_up_boots_what_is_off_and_leaves_the_rest(root: Path) -> None:
    lab = Lab.create(small(unique_name()), agents=False, root=root)
    kept = lab.nodes["c1"].init
    for node in (lab.nodes["g1"], lab.outside):
        node.require_init().signal(signal.SIGKILL)
        assert node.require_init().wait_gone(timeout_s=5) if node.is_up else True
    said: list[str] = []
    lab.up(progress=said.append)
    assert sorted(line.split()[0] for line in said) == ["g1", "outside"]
    assert lab.nodes["c1"].init == kept
    assert lab.nodes["g1"].run(["ping", "-c1", "-W1", "10.99.0.1"], timeout_s=10).ok


def test_up_repairs_lost_switches(root: Path) -> None:
    lab = Lab.create(small(unique_name()), agents=False, root=root)
    fabric = lab.fabric.require_init()
    fabric.signal(signal.SIGKILL)
    assert fabric.wait_gone(timeout_s=5)
    lab.up()
    assert lab.nodes["c1"].run(["ping", "-c1", "-W1", "10.99.0.3"], timeout_s=10).ok


def test_two_labs_do_not_meet(root: Path) -> None:
    one = Lab.create(small(unique_name()), agents=False, root=root)
    two = Lab.create(sized(unique_name(), central=1, gateways=2, computes=1), agents=False, root=root)
    assert one.nodes["c1"].run(["ping", "-c1", "-W1", "10.99.0.3"], timeout_s=10).ok
    assert two.nodes["c1"].run(["ping", "-c1", "-W1", "10.99.0.4"], timeout_s=10).ok
    assert not one.nodes["c1"].run(["ping", "-c1", "-W1", "10.99.0.4"], timeout_s=10).ok, (
        "only the other lab has a fourth"
    )
    survivors = [node.require_init() for node in two.nodes.values()]

    remove(one.name, root=root)
    assert names(root=root) == [two.name]
    assert all(init.is_alive for init in survivors)
    assert two.nodes["c1"].run(["ping", "-c1", "-W1", "10.99.0.4"], timeout_s=10).ok


def test_another_shape_under_the_same_name_is_refused(root: Path) -> None:
    lab = Lab.create(small(unique_name()), agents=False, root=root)
    init = lab.nodes["c1"].init
    with pytest.raises(Refused, match="has another shape") as refused:
        Lab.create(sized(lab.name), agents=False, root=root)
    assert refused.value.code == "lab_differs"
    assert lab.nodes["c1"].init == init


def test_an_unknown_lab(root: Path) -> None:
    with pytest.raises(UserError, match="there is no lab nowhere"):
        Lab.open("nowhere", root=root)
    assert not remove("nowhere", root=root)
    assert not root.exists()


@pytest.mark.parametrize("name", ["", "../etc", "a/b", "-x", "UP", "a" * 33])
def test_a_bad_name_never_becomes_a_path(root: Path, name: str) -> None:
    with pytest.raises(UserError, match="bad lab name"):
        remove(name, root=root)
    assert not root.exists()


def test_down_refuses_what_is_not_a_lab(root: Path) -> None:
    (root / "precious").mkdir(parents=True)
    (root / "precious" / "thesis.txt").write_text("years")
    with pytest.raises(Refused, match="has no state file"):
        remove("precious", root=root)
    assert (root / "precious" / "thesis.txt").read_text() == "years"
    shutil.rmtree(root / "precious")


def test_down_never_kills_who_took_over_a_pid(root: Path) -> None:
    lab = Lab.create(small(unique_name()), agents=False, root=root)
    with subprocess.Popen(["sleep", "60"]) as stranger:
        real = Process.find(stranger.pid)
        assert real is not None
        with lab.file.change() as state:
            state.inits["n1"].signal(signal.SIGKILL)
            state.inits["n1"] = Process(real.pid, real.start_ticks - 1)
        remove(lab.name, root=root)
        assert stranger.poll() is None
        stranger.kill()


def test_after_a_reboot_no_process_of_the_state_file_is_ours(root: Path) -> None:
    lab = Lab.create(small(unique_name()), agents=False, root=root)
    old = [node.require_init() for node in (*lab.nodes.values(), lab.outside, lab.fabric)]
    with subprocess.Popen(["sleep", "60"]) as stranger:
        same = Process.find(stranger.pid)
        assert same is not None
        with lab.file.change() as state:
            state.inits["n1"] = same
        lab.file.path.write_text(lab.file.path.read_text().replace(boot_id(), "another-boot"))
        for init in old:
            init.signal(signal.SIGKILL)
            assert init.wait_gone(timeout_s=5)
        assert not lab.nodes["n1"].is_up
        lab.up()
        assert lab.nodes["n1"].run(["ping", "-c1", "-W1", "10.99.0.1"], timeout_s=10).ok
        remove(lab.name, root=root)
        assert stranger.poll() is None
        stranger.kill()


CREATE = """
import sys
from pathlib import Path
from ovenbird.lab.lab import Lab
from ovenbird.lab.spec import sized
Lab.create(sized(sys.argv[1]), agents=False, root=Path(sys.argv[2]))
"""


@pytest.mark.parametrize("inits", [0, 1, 4, 8, 9])
def test_killed_in_the_middle_of_up(root: Path, before: dict[str, list[str]], inits: int) -> None:
    name = unique_name()
    file = StateFile(name, root=root)

    def far_enough() -> bool:
        state = file.read()
        return state is not None and len(state.inits) >= inits

    with subprocess.Popen([sys.executable, "-c", CREATE, name, str(root)]) as maker:
        eventually_sync(far_enough, within_s=20, every_s=0.001)
        maker.kill()
        maker.wait(timeout=10)
    remove(name, root=root)
    eventually_sync(lambda: processes_of(root) == [], within_s=10)
    assert machine() == before
    assert not root.exists()


def test_killed_in_the_middle_of_up_and_up_again(root: Path) -> None:
    name = unique_name()
    file = StateFile(name, root=root)
    with subprocess.Popen([sys.executable, "-c", CREATE, name, str(root)]) as maker:
        eventually_sync(lambda: (state := file.read()) and len(state.inits) >= 3, within_s=20, every_s=0.001)
        maker.kill()
        maker.wait(timeout=10)
    lab = Lab.create(sized(name), agents=False, root=root)
    for node in lab.nodes.values():
        assert node.spec is not None
        assert lab.nodes["c1"].run(["ping", "-c1", "-W1", node.spec.address], timeout_s=10).ok, node
    assert lab.nodes["g1"].run(["ethtool", "eth1"]).stdout.count("Link detected: yes") == 1


def test_an_init_whose_maker_died_before_recording_it_leaves(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:

        def record(init: Process) -> None:
            (tmp_path / "pid").write_text(f"{init.pid} {init.start_ticks}")
            os._exit(0)  # dies as by kill -9: no clean-up runs

        try:
            start_init("orphan", tmp_path / "disk", record=record)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    pid, ticks = (tmp_path / "pid").read_text().split()
    eventually_sync(lambda: not Process(int(pid), int(ticks)).is_alive, within_s=5)


def test_one_command_at_a_time(root: Path) -> None:
    lab = Lab.create(small(unique_name()), agents=False, root=root)
    other = StateFile(lab.name, root=root)
    with lab.file.locked(), pytest.raises(Refused, match="another command is working"), other.locked(timeout_s=0.2):
        pass
    with other.locked(timeout_s=5):
        pass


def test_code_below_a_private_directory_stays_visible(root: Path, tmp_path: Path) -> None:
    copy = tmp_path / "checkout"
    shutil.copytree(Path(ovenbird.__file__).parent, copy / "ovenbird", ignore=shutil.ignore_patterns("__pycache__"))
    name = unique_name()
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    subprocess.run([sys.executable, "-c", CREATE, name, str(root)], env=environment, check=True, timeout=60)
    node = Lab.open(name, root=root).nodes["c1"]
    assert str(copy).startswith("/tmp/")
    assert node.run(["ls", str(copy / "ovenbird" / "lab" / "init.sh")]).ok
    assert node.run(["ls", str(copy.parent)]).stdout.split() == ["checkout"]
