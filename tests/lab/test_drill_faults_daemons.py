"""Faults of real daemons: three central nodes with agents, and what their RAFT databases make of each fault."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator

import pytest
from tests.lab.conftest import unique_name
from tests.waiting import eventually_sync

from ovenbird.drill.fault import Fault, make_fault
from ovenbird.lab.faults import ClockJump, active, heal
from ovenbird.lab.faults.clock import library
from ovenbird.lab.faults.database_file import raft_status
from ovenbird.lab.lab import Lab, remove
from ovenbird.lab.spec import sized
from ovenbird.model.errors import Refused, UserError
from ovenbird.model.raft_status import RaftStatus
from ovenbird.process.supervisor import DAEMON_DIED, DAEMON_START_FAILED

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def central(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    name, root = unique_name(), tmp_path_factory.mktemp("labs")
    try:
        yield Lab.create(sized(name, central=3, gateways=0, computes=0), root=root)
    finally:
        remove(name, root=root)


@pytest.fixture
def whole(central: Lab) -> Iterator[Lab]:
    """The lab with every NB member in service, and a leader."""
    eventually_sync(lambda: all(serves(central, node) for node in central.nodes), within_s=120)
    eventually_sync(lambda: leader(central) and leader(central, "sb"), within_s=60)
    yield central
    heal(central)


def status(lab: Lab, node: str, daemon: str = "nb") -> RaftStatus | None:
    return raft_status(lab.node(node), daemon)


def serves(lab: Lab, node: str, daemon: str = "nb") -> bool:
    found = status(lab, node, daemon)
    return found is not None and found.is_serving


def leader(lab: Lab, daemon: str = "nb") -> str:
    found = {node: status(lab, node, daemon) for node in lab.nodes}
    return next((node for node, each in found.items() if each and each.is_leader and each.is_serving), "")


def follower(lab: Lab, daemon: str = "nb") -> str:
    return next(node for node in lab.nodes if node != leader(lab, daemon))


def writes(lab: Lab, node: str, text: str = "x", *, daemon: str = "nb") -> bool:
    """Whether a write through the member's own socket is done, soon: an election may be under way."""
    return eventually_sync(lambda: write(lab, node, text, daemon=daemon), within_s=60)


def write(lab: Lab, node: str, text: str = "x", *, daemon: str = "nb") -> bool:
    """Whether a write through the member's own socket is done within two seconds."""
    words = [f"ovn-{daemon}ctl", "--no-leader-only", "--timeout=2", "set", f"{daemon.upper()}_Global", "."]
    return lab.node(node).run([*words, f"external_ids:drill={text}"], timeout_s=10).ok


def inject(fault: Fault) -> Fault:
    fault.inject()
    fault.verify_injected()
    return fault


def test_an_orderly_end_is_followed_by_a_new_start(whole: Lab) -> None:
    node = follower(whole)
    before = whole.node(node).daemon("nb")
    inject(make_fault(whole, "exit", [node], daemon="nb"))
    assert not before.is_alive
    eventually_sync(lambda: serves(whole, node), within_s=60)
    assert active(whole) == [], "nothing to heal"


def test_a_killed_agent_is_started_by_heal(whole: Lab) -> None:
    node = follower(whole)
    fault = inject(make_fault(whole, "kill", [node], daemon="agent"))
    assert "agent" not in whole.node(node).pids()
    fault.heal()
    eventually_sync(lambda: "agent" in whole.node(node).pids(), within_s=40)


def test_a_full_disk_stops_the_leader_from_writing(whole: Lab) -> None:
    old = leader(whole)
    fault = inject(make_fault(whole, "disk-full", [old]))
    other = next(node for node in whole.nodes if node != old)
    # The last block of the file may still have room for a record or two.
    eventually_sync(lambda: write(whole, other, "y" * 5000) and not serves(whole, old), within_s=80)
    eventually_sync(lambda: leader(whole) not in ("", old), within_s=60)
    assert writes(whole, other)
    fault.heal()
    eventually_sync(lambda: serves(whole, old), within_s=80)


@pytest.mark.parametrize("how", ["truncate", "bit-flip", "old-copy"])
def test_a_member_recovers_from_a_damaged_log(whole: Lab, how: str) -> None:
    node = follower(whole)
    for number in range(12):
        assert writes(whole, node, f"{how}-{number}")
    before = whole.node(node).daemon("nb")
    fault = inject(make_fault(whole, "db-damage", [node], daemon="nb", how=how))
    assert not before.is_alive
    eventually_sync(lambda: serves(whole, node), within_s=80)
    recovered = whole.node(node).daemon("nb")
    fault.heal()
    assert recovered.is_alive, "a member that has recovered keeps its newer file"
    assert writes(whole, node)


def test_an_empty_file_is_of_no_use_until_the_original_is_back(whole: Lab) -> None:
    node = follower(whole)
    known = status(whole, node)
    assert known is not None
    fault = inject(make_fault(whole, "db-damage", [node], daemon="nb", how="empty"))
    file = whole.node(node).path("/var/lib/ovn/ovnnb_db.db")
    assert file.stat().st_size == 0
    assert not serves(whole, node)
    fault.heal()
    eventually_sync(lambda: serves(whole, node), within_s=80)
    again = status(whole, node)
    assert again is not None
    assert again.sid == known.sid
    assert not list(file.parent.glob("*.whole"))


def test_a_member_without_raft_messages_loses_its_place(whole: Lab) -> None:
    old = leader(whole)
    fault = inject(make_fault(whole, "raft-failpoint", [old], daemon="nb", scenario="stop-raft-rpc"))
    # It goes on calling itself leader for a while: nobody can tell it otherwise.
    eventually_sync(lambda: leader(whole) not in ("", old), within_s=80)
    with pytest.raises(Refused, match="engaged in it already"):
        make_fault(whole, "raft-failpoint", [old], daemon="nb", scenario="stop-raft-rpc").inject()
    fault.heal()
    eventually_sync(lambda: serves(whole, old), within_s=80)


def test_a_crash_failpoint_ends_the_server_at_its_step(whole: Lab) -> None:
    node = follower(whole, "sb")
    victim = whole.node(node).daemon("sb")
    scenario = "crash-after-receiving-append-request-update"
    fault = inject(make_fault(whole, "raft-failpoint", [node], daemon="sb", scenario=scenario))
    assert writes(whole, next(other for other in whole.nodes if other != node), daemon="sb")
    assert victim.wait_gone(timeout_s=40)
    fault.heal()
    eventually_sync(lambda: serves(whole, node, "sb"), within_s=100)


def test_a_stopped_member_goes_on_at_the_limit(whole: Lab) -> None:
    node = follower(whole)
    fault = inject(make_fault(whole, "stop", [node], daemon="nb", limit_s=4))
    victim = whole.node(node).daemon("nb")
    eventually_sync(lambda: victim.state not in ("", "T"), within_s=40)
    eventually_sync(lambda: not fault.is_active, within_s=20)


def test_a_crash_loop_kills_what_the_agent_starts_again(whole: Lab) -> None:
    log = whole.node("c1").logs()["agent"]
    fault = inject(make_fault(whole, "crash-loop", ["c1"], daemon="northd", times=3))
    eventually_sync(lambda: not fault.is_active, within_s=80)
    eventually_sync(lambda: "ovn-northd" in whole.node("c1").pids(), within_s=80)
    told = [json.loads(line) for line in log.read_text().splitlines() if '"ovn-northd"' in line]
    # One that was killed before it had finished its start did not die as a daemon: its start failed. Both may be told.
    ends = [one for one in told if one["event"] in (DAEMON_DIED, DAEMON_START_FAILED)]
    assert 2 <= len(ends) <= 3


def test_a_clock_jump_needs_its_library_and_changes_what_the_agent_sees(whole: Lab) -> None:
    fault = make_fault(whole, "clock-jump", ["c3"], offset_s=-7200)
    if library() is None:
        with pytest.raises(Refused, match="libfaketime"):
            fault.inject()
        return
    inject(fault)
    servers = whole.node("c3").daemon("nb")
    fault.heal()
    sane = make_fault(whole, "clock-jump", ["c3"], offset_s=-7200)
    eventually_sync(lambda: "agent" in whole.node("c3").pids(), within_s=40)
    assert isinstance(sane, ClockJump)
    assert not sane.bites()
    assert servers.is_alive, "daemons outlive the agent, and these never saw the other time"


def test_nonsense_is_said(whole: Lab) -> None:
    with pytest.raises(UserError, match="northd serves no RAFT database"):
        make_fault(whole, "db-damage", ["c1"], daemon="northd").inject()
    with pytest.raises(UserError, match="no failpoint sneeze"):
        make_fault(whole, "raft-failpoint", ["c1"], daemon="nb", scenario="sneeze").inject()
    with pytest.raises(Refused, match="has only"):
        make_fault(whole, "db-damage", ["c1"], daemon="nb", how="old-copy", amount=100_000).inject()
    assert whole.node("c1").daemon("nb").signal(signal.SIGCONT)
