"""Asks this host's daemons how they are, for the node's row. "Could not ask" is `unknown`, never `down`.

Only what changes when something happened may be in the facts: counters and ages would make every look a write to the
database.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ovenbird import __version__
from ovenbird.central.member import Member
from ovenbird.central.tier import CentralTier
from ovenbird.host.chassis import Chassis
from ovenbird.host.fitness import Fitness
from ovenbird.host.outside import Outside
from ovenbird.host.southbound import Southbound
from ovenbird.host.strain import Strain
from ovenbird.host.switch import root_row
from ovenbird.ovsdb import OvsdbError
from ovenbird.process import daemon
from ovenbird.process.daemon import DaemonSpec, Running

if TYPE_CHECKING:
    from ovenbird.host.bird import Bird

UNKNOWN = "unknown"
_VERSION = re.compile(r"\d+(\.\d+)+")
_known_versions: dict[Path, tuple[Running, str]] = {}
"""Pid file of a daemon -> the process that was asked, and its version."""


async def gather_facts(
    tier: CentralTier | None,
    chassis: Chassis | None,
    fitness: Fitness | None = None,
    southbound: Southbound | None = None,
    strain: Strain | None = None,
    outside: Outside | None = None,
    bird: Bird | None = None,
) -> dict[str, Any]:
    """Return the facts of a host; sections that its roles do not have are absent."""
    specs: list[DaemonSpec] = []
    facts: dict[str, Any] = {"versions": {"ovenbird": __version__}}
    answered: set[str] = set()
    if tier is not None:
        specs += [member.spec for member in tier.members.values()] + [tier.northd.spec]
        facts["databases"] = {database.short: await _database(member) for database, member in tier.members.items()}
        facts["northd"] = await _northd(tier.northd.spec)
        answered |= {member.spec.name for db, member in tier.members.items() if "term" in facts["databases"][db.short]}
        if facts["northd"] != UNKNOWN:
            answered.add(tier.northd.spec.name)
    if chassis is not None:
        specs += chassis.specs
        hangs = fitness is not None and fitness.hangs
        facts["controller"] = UNKNOWN if hangs else await _controller(chassis.controller_spec)
        if facts["controller"] != UNKNOWN:
            answered.add(chassis.controller_spec.name)
        facts["bfd"] = _bfd(chassis)
        facts["datapath"] = chassis.datapath.value
    if southbound is not None:
        specs += southbound.specs
        if southbound.told():
            facts["southbound"] = southbound.told()
    answers = await asyncio.gather(*(_daemon(spec, answered=spec.name in answered) for spec in specs))
    facts["daemons"] = {spec.name: answer for spec, (answer, _) in zip(specs, answers, strict=True)}
    facts |= _bgp(bird, facts["daemons"])
    facts |= _hold(chassis)  # after the pids: a new ovs-vswitchd must not be told of without its hold
    if fitness is not None:
        facts["fitness"] = fitness.told()
    if outside is not None:
        facts["outside"] = outside.told()
    if strain is not None:
        facts["strain"] = strain.told()
    facts["versions"] |= _versions(specs, [version for _, version in answers])
    return facts


async def _daemon(spec: DaemonSpec, *, answered: bool) -> tuple[dict[str, Any], str]:
    """Return {pid, alive} and the version. alive: true, false (no process), or unknown (it does not answer).

    One that has `answered` another question just now is asked for its version only once.
    """
    running = daemon.find(spec)
    if running is None:
        return {"pid": 0, "alive": False}, ""
    known = _known_versions.get(spec.pidfile)
    if answered and known is not None and known[0] == running:
        return {"pid": running.pid, "alive": True}, known[1]
    try:
        version = await daemon.ask(spec, "version")
    except (OvsdbError, OSError):
        return {"pid": running.pid, "alive": UNKNOWN}, ""
    found = _VERSION.search(version)
    _known_versions[spec.pidfile] = (running, found[0] if found else "")
    return {"pid": running.pid, "alive": True}, found[0] if found else ""


def _versions(specs: list[DaemonSpec], versions: list[str]) -> dict[str, str]:
    """Return the versions of the two packages: OVN's daemons and Open vSwitch's."""
    found: dict[str, str] = {}
    for spec, version in zip(specs, versions, strict=True):
        if version:
            found["ovn" if spec.program.startswith("ovn") else "ovs"] = version
    return found


async def _database(member: Member) -> dict[str, Any]:
    try:
        status = await member.status()
    except (OvsdbError, OSError):
        return {"status": UNKNOWN}
    return {
        "status": status.status,
        "role": status.role,
        "term": status.term,
        "leader": status.leader_address,
        "servers": len(status.members),
        "cid": status.cid,
        "sid": status.sid,
    }


async def _northd(spec: DaemonSpec) -> str:
    """Return active, standby, paused or unknown (ovn-northd(8), `status`)."""
    try:
        answer = await daemon.ask(spec, "status")
    except (OvsdbError, OSError):
        return UNKNOWN
    return answer.partition(":")[2].strip() or UNKNOWN


async def _controller(spec: DaemonSpec) -> str:
    """Return connected, not connected or unknown (ovn-controller(8), `connection-status`)."""
    try:
        return (await daemon.ask(spec, "connection-status")).strip()
    except (OvsdbError, OSError):
        return UNKNOWN


def _hold(chassis: Chassis | None) -> dict[str, bool | str]:
    """Return whether ovs-vswitchd is held back from the tunnels, on hosts that have one."""
    if chassis is None:
        return {}
    held = chassis.held
    return {"held": UNKNOWN if held is None else held}


def _bgp(bird: Bird | None, daemons: dict[str, Any]) -> dict[str, Any]:
    """Return the BGP sessions, on gateways that route, and add their daemon to the others."""
    if bird is None:
        return {}
    daemons["bird"] = bird.told_daemon()
    return {"bgp": bird.told()}


def _bfd(chassis: Chassis) -> list[dict[str, str]]:
    """Return the state of each tunnel with BFD, by the chassis at its other end."""
    replica = chassis.replica
    if replica is None or root_row(replica) is None:
        return []
    interfaces = replica.table("Interface")
    found: list[dict[str, str]] = []
    for port in replica.table("Port").values():
        remote = port["external_ids"].get("ovn-chassis-id", "").partition("@")[0]
        for uuid in port["interfaces"] if remote else ():
            interface = interfaces.get(uuid)
            if interface is not None and interface["bfd_status"]:
                state = interface["bfd_status"].get("state", UNKNOWN) if replica.synced else UNKNOWN
                found.append({"chassis": remote, "state": state})
    return sorted(found, key=lambda one: one["chassis"])
