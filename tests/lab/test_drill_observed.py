"""A whole cluster under a drill's load and observers: what they see of a killed NB leader and a killed gateway."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
from tests.lab.conftest import unique_name
from tests.waiting import eventually, eventually_sync

from ovenbird.api.client import Client
from ovenbird.drill import queue_drops, switch_queues
from ovenbird.drill import stage as stages
from ovenbird.drill.catalogue_terms import PEER_LOST
from ovenbird.drill.commits import commits
from ovenbird.drill.final import collect_final, residue
from ovenbird.drill.invariants import ALWAYS, check, unproven
from ovenbird.drill.load import Load
from ovenbird.drill.observers import Observers
from ovenbird.drill.record import ARP_ANSWERED, DAEMON_CHANGED, ROLE_CHANGED, Event, Final, Meta, RunRecord, Window
from ovenbird.drill.stage import Stage
from ovenbird.lab.lab import Lab, remove
from ovenbird.lab.node import Node
from ovenbird.lab.readiness import wait_ready
from ovenbird.lab.spec import sized

pytestmark = pytest.mark.lab

STREAMS = ("east-west", "east-west-udp", "east-west-routed-tcp", "snat", "snat-tcp", "distributed-from-outside")
ALONE_NS = 2_000_000_000
ANNOUNCED = ("ovsdb-server-nb: ", "ovs-vswitchd: ", *PEER_LOST)
OVERLAP_MS = 6000.0
"""How long two gateways may answer on a machine that is several times slower; a drill holds them to less."""


@dataclass
class Scene:
    lab: Lab
    api: Client
    stage: Stage


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Three central nodes, two gateways, two compute nodes, with the stage set."""
    name, root = unique_name(), tmp_path_factory.mktemp("labs")
    try:
        lab = Lab.create(sized(name, central=3, gateways=2, computes=2), root=root)
        wait_ready(lab, timeout_s=180, progress=lambda _: None)
        api = Client(lab.central_sockets())
        yield Scene(lab, api, stages.prepare(api, ["n1", "n2"], outside="172.16.0.254", physnet="ext"))
    finally:
        remove(name, root=root)


def of_kind(events: list[Event], kind: str, subject: str = "") -> list[Event]:
    return [event for event in events if event.kind == kind and event.subject.startswith(subject)]


def leader(events: list[Event], database: str) -> tuple[str, int]:
    led = [event for event in of_kind(events, ROLE_CHANGED, f"{database}@") if event.data["role"] == "leader"]
    return (str(led[-1].data["node"]), int(led[-1].data["term"])) if led else ("", 0)


def answers(events: list[Event], address: str) -> str:
    found = of_kind(events, ARP_ANSWERED, address)
    return str(found[-1].data["node"]) if found else ""


def answers_alone(events: list[Event], address: str) -> str:
    """Who answers, and nobody else for a while."""
    found = of_kind(events, ARP_ANSWERED, address)
    return answers(events, address) if found and time.time_ns() - found[-1].at_ns > ALONE_NS else ""


async def broken(scene: Scene) -> RunRecord:
    """Kill the NB leader, then the active gateway's switch, under load; return all that was seen."""
    lab, address = scene.lab, scene.stage.router_address
    started_ns = time.time_ns()
    streams = [stream for stream in stages.streams(scene.stage) if stream.name in STREAMS]
    async with Observers(lab, scene.stage) as observers:
        with Load(lab, streams, 6.0) as load:
            assert await asyncio.to_thread(load.wait_flowing, timeout_s=60) == ()
            load_started_ns = time.time_ns()
            await eventually(
                lambda: leader(observers.events, "nb")[0] and answers(observers.events, address), within_s=40
            )
            first, term = leader(observers.events, "nb")
            killed_ns = time.time_ns()
            assert lab.node(first).daemon("nb").signal(signal.SIGKILL)
            await eventually(lambda: leader(observers.events, "nb")[1] > term, within_s=60)
            # ovn-northd looks for the new leader for some seconds, and until it has found it a gateway that returns
            # takes back at once what it had.
            realised = {"revision": None, "timeout_s": 60}
            assert (await asyncio.to_thread(scene.api.post, "/v1/wait", realised, timeout_s=70))["state"] == "done"
            before = answers(observers.events, address)
            assert lab.node(before).daemon("vswitchd").signal(signal.SIGKILL)
            await eventually(lambda: answers(observers.events, address) not in ("", before), within_s=60)
            # On its way home both gateways answer for a moment.
            await eventually(lambda: answers_alone(observers.events, address) == before, within_s=40)
            await asyncio.to_thread(kill_probe, load, "n2", scene.stage)
            ended_ns = time.time_ns()
            records, writes = await asyncio.to_thread(load.stop)
        final = await asyncio.to_thread(collect_final, lab, scene.api, scene.stage)
        events = observers.events
    window = Window(fault="kill", targets=[first, before], injected_ns=killed_ns, healed_ns=ended_ns, verified=True)
    meta = Meta(
        drill="test",
        seed=1,
        lab=lab.name,
        baseline=False,
        started_ns=started_ns,
        load_started_ns=load_started_ns,
        ended_ns=ended_ns,
        windows=[window],
        announced=ANNOUNCED,
        overlap_ms=OVERLAP_MS,
    )
    return RunRecord(meta=meta, timeline=events, streams=records, writes=writes, final=final)


def kill_probe(load: Load, node: str, stage: Stage) -> None:
    """End the probe in a workload as the loss of its node would, and wait until another has taken over."""
    place = next(place for place in load.pids() if place.node == node and place.workload == stages.DISTRIBUTED_PORT)
    pid = load.pids()[place]
    os.killpg(pid, signal.SIGKILL)
    eventually_sync(lambda: load.pids()[place] != pid, within_s=40)
    started_ns = time.time_ns()
    eventually_sync(
        lambda: any(at_ns > started_ns for _seq, at_ns in load.received("east-west-routed-tcp")), within_s=80
    )


def test_what_is_seen_of_a_lost_leader_and_a_lost_gateway(scene: Scene) -> None:
    record = asyncio.run(broken(scene))
    events = list(record.timeline)
    first, gateway = record.meta.windows[0].targets

    # RAFT: the killed member is seen to go, another to lead in a later term, and the agent's new process.
    led = [event.data for event in of_kind(events, ROLE_CHANGED, "nb@") if event.data["role"] == "leader"]
    assert len({each["term"] for each in led}) == len({(each["node"], each["term"]) for each in led}) >= 2
    roles = [event.data["role"] for event in of_kind(events, ROLE_CHANGED, f"nb@{first}")]
    # On a busy machine it may be seen to be away, to stand, or to be elected once more before the end.
    assert roles[0] == "leader"
    assert "follower" in roles[1:]
    assert len([event for event in of_kind(events, DAEMON_CHANGED, f"{first}/ovnnb_db") if event.data["pid"]]) == 2

    # Gateways: who answered moved away and back, at the port of the switch where it is.
    moves = of_kind(events, ARP_ANSWERED, scene.stage.router_address)
    assert {event.data["port"] for event in moves} == {"x-g1", "x-g2"}
    assert moves[-1].data["node"] == gateway == record.final.answers[scene.stage.router_address]

    # Writes and reads: all acknowledged ones are there, and NB had each.
    acked = [write for write in record.writes if write.outcome == "acked"]
    assert len(acked) > 20
    assert record.final.objects is not None
    assert record.final.objects.keys() >= {write.object for write in acked}
    assert commits(record.writes, events).lost() == 0
    streams = {stream.name: stream for stream in record.streams}
    assert streams.keys() == {*STREAMS, "read"}
    assert len(streams["read"].received) > 20

    # Traffic: the probe that died left its record and its successor went on; what it answered was interrupted.
    generations = {seq // 10_000_000 for seq, _at in streams["east-west-routed-tcp"].sent}
    assert generations == {0}
    assert streams["east-west-routed-tcp"].breaks, "the other end of its connection was killed"
    assert streams["snat-tcp"].survived
    measured = (record.meta.load_started_ns, record.meta.ended_ns - 1_000_000_000)
    assert all(streams[name].delivered_ratio(*measured) > 0.95 for name in ("east-west", "east-west-udp"))

    assert unproven(record, ALWAYS) == ()
    assert check(record) == (), "\n".join(map(str, check(record)))


def queues(node: Node) -> list[int]:
    """Return the size of every queue that a node's switch reads packets from, bytes as the kernel counts them."""
    return [int(size) for size in re.findall(r"skmem:\(r\d+,rb(\d+)", node.run(queue_drops.COMMAND).stdout)]


def test_switches_are_given_queues_that_take_a_burst(scene: Scene) -> None:
    deepened = switch_queues.deepen(scene.lab)
    assert deepened.keys() == {"g1", "g2", "n1", "n2"}
    for name, count in deepened.items():
        large = [size for size in queues(scene.lab.node(name)) if size >= switch_queues.QUEUE_BYTES]
        assert len(large) == count >= 2, name


def test_a_write_that_goes_missing_is_caught(scene: Scene) -> None:
    """The planted bug: somebody takes away what was acknowledged, in the declared state itself."""
    with Load(scene.lab, [], 20.0, reads_per_s=0) as load:
        eventually_sync(lambda: load.writer is not None and len(load.writer.writes()) >= 5, within_s=80)
        _records, writes = load.stop()
    victim = next(write for write in writes if write.outcome == "acked")
    scene.api.post("/v1/delete", {"objects": [{"kind": "Port", "name": victim.object}]})
    final = collect_final(scene.lab, scene.api, scene.stage)
    meta = Meta(
        drill="test",
        seed=1,
        lab="",
        baseline=False,
        started_ns=0,
        load_started_ns=0,
        ended_ns=time.time_ns(),
        windows=[],
    )
    record = RunRecord(meta=meta, writes=writes, final=replace(final, members={}))
    found = [violation for violation in check(record) if violation.invariant == "no-lost-write"]
    assert [violation.what for violation in found] == [f"write {victim.number} was acknowledged and is lost"]


def test_nothing_is_left_behind(scene: Scene) -> None:
    assert any("drill-snat" in thing for thing in residue(scene.lab, scene.api, timeout_s=0))
    stages.strike(scene.api)
    assert residue(scene.lab, scene.api) == []
    stages.strike(scene.api)
    assert isinstance(collect_final(scene.lab, scene.api, scene.stage), Final)
