"""Measures on a gateway host what BFD between tunnels cannot see: uplinks, next hops, daemons that hang.

What it finds goes into the host's facts at once; who carries routers is decided by the acting controller
(`ovenbird.plan.fitness`). One thing is done here, because only this host can: an ovn-controller that hangs is ended, so
that its supervisor starts another. Left alone, its flows would go on answering ARP for routers that others carry.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ovenbird.host.chassis import Chassis
from ovenbird.host.next_hops import NextHops
from ovenbird.host.working import Working
from ovenbird.model.cluster import Host
from ovenbird.ovsdb import Client, Replica
from ovenbird.plan.fitness import BRIDGE, NEXT_HOP, OVN_CONTROLLER, OVS_VSWITCHD, UPLINK, Finding, State
from ovenbird.plan.outside import Upstream
from ovenbird.plan.probing import USUAL_S
from ovenbird.plan.switch import provider_bridge
from ovenbird.process import daemon
from ovenbird.process.daemon import small_file

if TYPE_CHECKING:
    from ovenbird.host.bird import Bird

FITNESS_CHANGED = "fitness.changed"
CONTROLLER_ENDED = "fitness.hung_controller_ended"
DAEMON_LOOK_S = 0.5
REPEATED_S = 30.0
"""An ovn-controller that hung twice within this time is not trusted for as long."""
SYSFS = Path("/sys/class/net")
BY_IPV6 = " by IPv6"
"""Behind the name of a network: its IPv6 next hop."""
NETWORKS = {"Object": ("kind", "name", "spec")}

_log = logging.getLogger(__name__)


class Fitness:
    """The fitness of one gateway host. `told()` is for its facts."""

    def __init__(self, host: Host, chassis: Chassis, client: Client, bird: Bird | None = None) -> None:
        """`bird` tells of the networks that the host routes to."""
        self._host = host
        self._bird = bird
        self._chassis = chassis
        self._client = client
        self._daemons = {OVS_VSWITCHD: Working(chassis.vswitchd_spec), OVN_CONTROLLER: Working(chassis.controller_spec)}
        self._next_hops = {physnet: NextHops(provider_bridge(physnet)) for physnet in host.uplinks}
        self._bridges: dict[str, tuple[Replica, int, Finding]] = {}
        """Physical network -> what its bridge was like in which version of Open vSwitch's database."""
        self._found: dict[tuple[str, str], Finding] = {}
        """(physical network or "" for the host, measurement) -> what it says."""
        self._cidrs: dict[str, dict[str, str]] = {}
        """Physical network -> ExternalNetwork with a next hop -> its addresses."""
        self._ended_s: list[float] = []
        """When a hung ovn-controller was ended (monotonic)."""
        self._turned_s = 0.0
        """ovs-vswitchd answered a question that was asked then (monotonic)."""
        self._doubted = asyncio.Event()

    def told(self) -> dict[str, Any]:
        """Return what was found, as the facts hold it."""
        physnets: dict[str, dict[str, Any]] = {physnet: {} for physnet in sorted(self._host.physnets)}
        host: dict[str, Any] = {}
        for (physnet, what), finding in sorted(self._found.items()):
            (physnets[physnet] if physnet else host)[what] = finding.to_json()
        macs = {name: mac for probes in self._next_hops.values() for name, mac in probes.macs().items()}
        return {"host": host, "physnets": physnets, "next_hops": macs}

    def upstreams(self) -> list[Upstream]:
        """Return the next hops of external networks as they are now."""
        return [
            Upstream(
                physnet=physnet,
                vlan=target.vlan,
                address=target.address,
                cidr=self._cidrs[physnet][name],
                mac=mac,
            )
            for physnet, probes in self._next_hops.items()
            for name, target, mac in probes.seen()
        ]

    @property
    def hangs(self) -> bool:
        """Whether ovn-controller is known not to answer; asking it would only take time."""
        return self._found.get(("", OVN_CONTROLLER), Finding(State.OK)).state is not State.OK

    @property
    def controller_is_bad(self) -> bool:
        """Whether ovn-controller is known not to work: what it has once asked of ovs-vswitchd says nothing any more."""
        return self._found.get(("", OVN_CONTROLLER), Finding(State.OK)).state is State.BAD

    async def run(self) -> None:
        """Measure until cancelled."""
        await self._chassis.settled.wait()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._watch_wires())
                group.create_task(self._watch_networks())
                group.create_task(self._watch_turns())
                for name in self._daemons:
                    group.create_task(self._watch_daemon(name))
        finally:
            for probes in self._next_hops.values():
                probes.close()

    def _note(self, physnet: str, what: str, finding: Finding) -> None:
        """Keep a finding; a new state or new evidence is told at once."""
        before = self._found.get((physnet, what), Finding())
        if (physnet, what) in self._found and (before.state, before.evidence) == (finding.state, finding.evidence):
            return
        since_s = before.since_s if before.state is finding.state and before.since_s else time.time()
        self._found[physnet, what] = Finding(finding.state, finding.evidence, since_s)
        fields = {"physnet": physnet, "what": what, "state": finding.state.value, "evidence": finding.evidence}
        _log.info(FITNESS_CHANGED, extra=fields)
        self._chassis.news.set()

    # Uplinks and next hops.

    async def _watch_wires(self) -> None:
        last_s = time.monotonic()
        while True:
            late = time.monotonic() - last_s > 2 * USUAL_S
            last_s = time.monotonic()
            for physnet, interface in self._host.uplinks.items():
                self._note(physnet, UPLINK, _carrier(interface))
                self._note(physnet, BRIDGE, self._bridge(physnet, interface))
                # Answers that came while this process did not run are read first; silence then proves nothing.
                found = self._next_hops[physnet].tick(count_silence=not late, switch_turned_s=self._turned_s)
                for name, finding in found.items():
                    self._note(physnet, f"{NEXT_HOP}{name}", finding)
            if self._bird is not None:
                for physnet in self._host.routed:
                    self._note(physnet, UPLINK, self._bird.finding)
                    self._note(physnet, BRIDGE, self._bridge(physnet, provider_bridge(physnet)))
            if any(probes.doubts for probes in self._next_hops.values()):
                self._doubted.set()
            await asyncio.sleep(min((probes.pause_s for probes in self._next_hops.values()), default=USUAL_S))

    async def _watch_turns(self) -> None:
        """While a next hop is in doubt, find out whether ovs-vswitchd's loop turns: else nothing passes through it."""
        while True:
            await self._doubted.wait()
            self._doubted.clear()
            asked_s = time.monotonic()
            if await daemon.answers(self._chassis.vswitchd_spec):
                self._turned_s = asked_s

    def _bridge(self, physnet: str, interface: str) -> Finding:
        """Return whether ovs-vswitchd has that port in the provider bridge, and OVN is told of it."""
        replica = self._chassis.replica
        if replica is None or not replica.synced:
            return Finding(State.UNKNOWN, "Open vSwitch's database cannot be read")
        known = self._bridges.get(physnet)
        if known is None or known[0] is not replica or known[1] != replica.version:
            known = self._bridges[physnet] = (replica, replica.version, _bridge(replica, physnet, interface))
        return known[2]

    async def _watch_networks(self) -> None:
        """Keep the next hops those of the declared external networks; what cannot be read stays as it was."""
        where = {"Object": [("kind", "==", "ExternalNetwork")]}
        async with Replica(self._client, NETWORKS, where=where) as replica:
            async for _ in replica.changes():
                specs = {row["name"]: _spec(row["spec"]) for row in replica.table("Object").values()}
                for physnet, probes in self._next_hops.items():
                    ours = {name: spec for name, spec in specs.items() if spec.get("physnet") == physnet}
                    self._cidrs[physnet] = {name: str(spec.get("cidr", "")) for name, spec in ours.items()}
                    probes.want(_next_hops(ours))
                    for key in [key for key in self._found if key[0] == physnet and key[1].startswith(NEXT_HOP)]:
                        if key[1].removeprefix(NEXT_HOP) not in probes.names:
                            del self._found[key]
                            self._chassis.news.set()

    # Daemons.

    async def _watch_daemon(self, name: str) -> None:
        working = self._daemons[name]
        while True:
            finding = await working.look()
            if name == OVN_CONTROLLER:
                if finding.state is State.BAD and working.end_hung():
                    self._ended_s = [*self._ended_s[-9:], time.monotonic()]
                    _log.warning(CONTROLLER_ENDED, extra={"evidence": finding.evidence})
                finding = self._mistrusted(finding)
            self._note("", name, finding)
            await asyncio.sleep(DAEMON_LOOK_S)

    def _mistrusted(self, finding: Finding) -> Finding:
        lately = [at_s for at_s in self._ended_s if time.monotonic() - at_s < REPEATED_S]
        if finding.state is State.OK and len(lately) > 1:
            return Finding(State.BAD, f"it hung {len(lately)} times within {REPEATED_S:.0f} s")
        return finding


def _bridge(replica: Replica, physnet: str, interface: str) -> Finding:
    bridge = provider_bridge(physnet)
    there = next((row for row in replica.table("Bridge").values() if row["name"] == bridge), None)
    if there is None:
        return Finding(State.BAD, f"{bridge} does not exist")
    ports = {row["name"]: row for uuid in there["ports"] if (row := replica.table("Port").get(uuid)) is not None}
    if interface not in ports:
        return Finding(State.BAD, f"{bridge} has no port {interface}")
    errors = (row["error"] for uuid in ports[interface]["interfaces"] if (row := replica.table("Interface").get(uuid)))
    if error := next((str(error) for error in errors if error), ""):
        return Finding(State.BAD, error)
    root = next(iter(replica.table("Open_vSwitch").values()), None)
    mappings = root["external_ids"].get("ovn-bridge-mappings", "").split(",") if root is not None else []
    if f"{physnet}:{bridge}" not in mappings:
        return Finding(State.BAD, f"{physnet} is not mapped to {bridge}")
    return Finding(State.OK)


def _carrier(interface: str) -> Finding:
    try:
        carrier = small_file(f"{SYSFS}/{interface}/carrier").strip()
    except FileNotFoundError:
        return Finding(State.BAD, f"{interface} does not exist")
    except OSError:  # EINVAL: the interface is switched off by the host itself
        return Finding(State.BAD, f"{interface} is switched off")
    return Finding(State.OK, interface) if carrier == "1" else Finding(State.BAD, f"{interface} has no carrier")


def _next_hops(networks: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[str, int]]:
    """Return what is to be asked: an external network, or its IPv6, with the address and the VLAN of its next hop."""
    return {
        f"{name}{suffix}": (str(spec[field]), int(spec.get("vlan") or 0))
        for name, spec in networks.items()
        for field, suffix in (("gateway", ""), ("gateway6", BY_IPV6))
        if spec.get(field)
    }


def _spec(text: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
