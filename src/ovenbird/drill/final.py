"""What a cluster looks like after everything was healed, and what a drill left behind: facts for the run's record.

Everything is asked with a deadline; what cannot be asked is recorded as that. This module must never judge, nor change
anything.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from ovenbird.drill import writer
from ovenbird.drill.contents import MemberContent, Tables, settled
from ovenbird.drill.observers import Staged, arp_arguments, arp_command, node_of
from ovenbird.drill.phases import Phases
from ovenbird.drill.record import Final
from ovenbird.drill.stage import PREFIX, Api
from ovenbird.lab.lab import Lab
from ovenbird.lab.node import Node
from ovenbird.model.cluster import Database, Role
from ovenbird.model.errors import OvenbirdError

T = TypeVar("T")

EQUAL_S = 10.0
AUDIT_S = 10.0
"""How long the controller may still be at work after the heal."""
ARP_S = 0.5
CARRIER_S = 5.0
"""How long a gateway's address may be answered by another than SB says: a planned move may be under way."""
AGAIN_S = 0.3
COMMAND_S = 10.0
GONE_S = 15.0
"""How long agents and the controller may take to undo what the drill no longer wants."""
NAMESPACE, PORT_OF = WORKLOAD_THINGS = ("namespace", "port of")
"""What there is of an attached workload on its host, as `residue` calls it."""


class FinalStage(Staged, Protocol):
    """What must be known of the stage."""

    @property
    def gateway_port(self) -> str:
        """Logical port that the active gateway claims."""


def collect_final(
    lab: Lab, api: Api, stage: FinalStage, *, realise_s: float = 30.0, phases: Phases | None = None
) -> Final:
    """Look at everything, before the stage is struck. Takes seconds; call it in a thread."""
    phases = phases or Phases()
    with phases.of("wait until realised"):
        realised = _realised(api, realise_s)
    with phases.of("audit"):
        plan_changes = _plan_changes(api)
    with phases.of("compare members"):
        contents = asyncio.run(_contents(lab))
    nb = _told(contents[Database.NB])
    with phases.of("who answers"):
        active, answers = _carriers(lab, stage, _told(contents[Database.SB]))
    return Final(
        members={
            database.short: {member.node: member.told() for member in members} for database, members in contents.items()
        },
        objects=_asked(lambda: _declared(api)),
        nb_objects=None if nb is None else nb_writes(nb),
        realised=realised,
        plan_changes=plan_changes,
        arp=_neighbours(lab, stage),
        answers=answers,
        active=active,
    )


def residue(lab: Lab, api: Api, *, timeout_s: float = GONE_S, kept: Collection[str] = ()) -> list[str]:
    """Return what is left of the drill besides `kept` (an earlier answer); waits a while for those who undo it."""
    deadline_s = time.monotonic() + timeout_s
    while True:
        left = [thing for thing in _left(lab, api) if thing not in kept]
        if not left or time.monotonic() > deadline_s:
            return left
        time.sleep(AGAIN_S)


def nb_writes(tables: Tables) -> dict[str, list[int]]:
    """Return the written ports in NB: name of the declared object -> the numbers that its rows carry."""
    found: dict[str, list[int]] = {}
    for row in tables["Logical_Switch_Port"].values():
        for address in _members(row["addresses"]):
            number = writer.number_of(str(address).partition(" ")[0])
            if number is not None:
                found.setdefault(str(row["name"]), []).append(number)
    return found


async def _contents(lab: Lab) -> dict[Database, list[MemberContent]]:
    found = await asyncio.gather(*(settled(database, _centrals(lab), timeout_s=EQUAL_S) for database in Database))
    return dict(zip(Database, found, strict=True))


def _centrals(lab: Lab) -> list[Node]:
    return [node for node in lab.nodes.values() if node.spec and Role.CENTRAL in node.spec.roles]


def _told(members: Sequence[MemberContent]) -> Tables | None:
    return next((member.tables for member in members if not member.error), None)


def _realised(api: Api, timeout_s: float) -> str:
    body = {"revision": None, "timeout_s": timeout_s}
    answer = _asked(lambda: api.post("/v1/wait", body, timeout_s=timeout_s + 10))
    return "unknown" if answer is None else str(answer["state"])


def _plan_changes(api: Api) -> int | None:
    """Return the steps that a full audit would make; asks again while there are some, or no controller acts."""
    deadline_s = time.monotonic() + AUDIT_S
    while True:
        answer = _asked(lambda: api.get("/v1/audit", timeout_s=COMMAND_S))
        if (answer is not None and not answer["steps"]) or time.monotonic() > deadline_s:
            return None if answer is None else int(answer["steps"])
        time.sleep(AGAIN_S)


def _declared(api: Api) -> dict[str, int]:
    ports = api.get("/v1/objects", query={"kind": "Port"})["objects"]
    numbers = {str(one["name"]): writer.number_of(str(one["spec"].get("mac") or "")) for one in ports}
    return {name: number for name, number in numbers.items() if number is not None}


def _carriers(lab: Lab, stage: FinalStage, sb: Tables | None) -> tuple[dict[str, str], dict[str, str]]:
    """Return who is active by SB and who answers by ARP; asks again for a while when they differ: it may be moving."""
    deadline_s = time.monotonic() + CARRIER_S
    while True:
        active = {} if sb is None else _active(sb, stage.gateway_port)
        answers = _answers(lab, stage)
        if set(answers.values()) <= set(active.values()) or time.monotonic() > deadline_s:
            return active, answers
        sb = _told(asyncio.run(settled(Database.SB, _centrals(lab), timeout_s=0)))


def _active(sb: Tables, gateway_port: str) -> dict[str, str]:
    found = {}
    for row in sb["Port_Binding"].values():
        if row["logical_port"] == gateway_port:
            chassis = sb["Chassis"].get(str(row["chassis"][1]), {}) if row["chassis"][0] == "uuid" else {}
            found[gateway_port] = str(chassis.get("name", ""))
    return found


def _neighbours(lab: Lab, stage: FinalStage) -> dict[str, str]:
    done = _asked(lambda: lab.outside.run(["ip", "-j", "neigh", "show"], timeout_s=COMMAND_S).checked())
    entries: list[Mapping[str, Any]] = [] if done is None else json.loads(done.stdout or "[]")
    return {
        str(entry["dst"]): str(entry["lladdr"])
        for entry in entries
        if entry.get("dst") in stage.gateway_addresses and "lladdr" in entry
    }


def _answers(lab: Lab, stage: FinalStage) -> dict[str, str]:
    try:
        command = arp_command(arp_arguments(lab, stage, duration_s=ARP_S))
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    except (OvenbirdError, OSError):
        return {}
    with process:
        try:
            assert process.stdout is not None
            process.wait(COMMAND_S)
            last = json.loads((process.stdout.read().splitlines() or [b"{}"])[-1]).get("last", {})
        except subprocess.TimeoutExpired:
            return {}
        finally:
            process.kill()
    return {address: node_of(answer["port"]) for address, answer in last.items()}


def _left(lab: Lab, api: Api) -> list[str]:
    left = []
    try:
        attachments = api.get("/v1/attachments")["attachments"]
        left += [f"attachment {one['port']}" for one in attachments if _is_ours(one["port"])]
        left += [f"{one['kind']}/{one['name']}" for one in api.get("/v1/objects")["objects"] if _is_ours(one["name"])]
    except OvenbirdError as error:
        left.append(f"unknown: {error.message}")
    for node in lab.nodes.values():
        if node.spec and Role.COMPUTE in node.spec.roles and node.is_up:
            left += _left_on(node)
    tables = asyncio.run(_nb_tables(lab))
    for table in ("Logical_Switch", "Logical_Router", "Logical_Switch_Port", "Logical_Router_Port"):
        left += [f"NB {table} {row['name']}" for row in tables.get(table, {}).values() if _is_ours(row["name"])]
    return sorted(left)


def _left_on(node: Node) -> list[str]:
    namespaces = _lines(node, ["ip", "netns", "list"])
    ports = _lines(node, ["ovs-vsctl", "--timeout=5", "--bare", "--columns=external_ids", "list", "Port"])
    left = [f"{NAMESPACE} {line.split()[0]} on {node.name}" for line in namespaces if _is_ours(line)]
    attached = re.findall(rf"attachment:({re.escape(PREFIX)}[\w-]*)", "\n".join(ports))
    return left + [f"{PORT_OF} {port} on {node.name}" for port in sorted(set(attached))]


def _lines(node: Node, command: Sequence[str]) -> list[str]:
    done = _asked(lambda: node.run(command, timeout_s=COMMAND_S))
    return [] if done is None else done.stdout.splitlines()


async def _nb_tables(lab: Lab) -> Tables:
    return _told(await settled(Database.NB, _centrals(lab), timeout_s=0)) or {}


def _is_ours(name: object) -> bool:
    return str(name).startswith(PREFIX)


def _members(wire: Any) -> list[Any]:
    return list(wire[1]) if isinstance(wire, list) and wire[0] == "set" else [wire]


def _asked(question: Callable[[], T]) -> T | None:
    try:
        return question()
    except OvenbirdError:
        return None
