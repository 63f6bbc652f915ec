"""Silences a gateway host that is cut off; and one that has no ovn-controller, for what others carry by now.

Cut off: wholly, if its ovn-controller cannot take its routers away from it, and else for what it does not carry, until
it sees the other gateways again. What routers send into a provider network is dropped on that network's bridge, by
flows that end by themselves if this agent does. Nothing else of the host is touched, but that ovn-controller comes
before other processes no more while it was cut off. Whether to do so is decided in `ovenbird.plan.isolation`.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Collection

from ovenbird.host.announcer import Announcer
from ovenbird.host.chassis import Chassis
from ovenbird.host.left_behind import LeftBehind
from ovenbird.host.muted import Muted
from ovenbird.host.southbound import Southbound
from ovenbird.model.cluster import Host
from ovenbird.model.errors import OvenbirdError
from ovenbird.model.layout import Layout
from ovenbird.ovsdb import OvsdbError
from ovenbird.plan.announcing import Announcement
from ovenbird.plan.isolation import Isolation, is_alone, judge, muted
from ovenbird.plan.switch import provider_bridge
from ovenbird.process import daemon, precedence
from ovenbird.process.command import run

SILENCED = "isolation.silenced"
RELEASED = "isolation.released"
WARY = "isolation.wary"
TRUSTING = "isolation.trusting"
LEFT_BEHIND = "isolation.left_behind"
NOT_SILENCED = "isolation.not_silenced"
LOOK_S = 0.5
RETURNING_LOOK_S = 0.1
ANSWER_S = 0.5
LASTS_S = 5
"""The flow is renewed with every look, and goes so long after the last one."""
COOKIE = "0x6f766973"
_PATCH = re.compile(r"^\s*(\d+)\(patch-.*?\):", re.MULTILINE)

_log = logging.getLogger(__name__)


class Isolated:
    """Watches one gateway host for it."""

    def __init__(
        self,
        host: Host,
        chassis: Chassis,
        southbound: Southbound,
        layout: Layout,
        announcer: Announcer,
        muted: Muted,
        gateways: Collection[str],
        left_behind: LeftBehind,
    ) -> None:
        """`announcer` knows what this host carries; `gateways`: all of the cluster."""
        self._left_behind = left_behind
        self._bridges = [f"unix:{layout.ovs_run / provider_bridge(physnet)}.mgmt" for physnet in sorted(host.physnets)]
        self._chassis = chassis
        self._southbound = southbound
        self._announcer = announcer
        self._muted = muted
        self._gateways = frozenset(gateways) - {host.name}
        self._known = Isolation()
        self._quiet: frozenset[Announcement] = frozenset()
        self._carried: frozenset[Announcement] = frozenset()
        self._hurries = True

    @property
    def is_silent(self) -> bool:
        """Whether this host is to say nothing at all."""
        return self._known.silent

    async def run(self) -> None:
        """Watch until cancelled."""
        await self._chassis.settled.wait()
        while True:
            await self._look()
            await asyncio.sleep(RETURNING_LOOK_S if self._known.returning else LOOK_S)

    async def _look(self) -> None:
        sessions = self._sessions()
        # ovn-controller is asked only when it matters.
        works = await self._works() if is_alone(sessions) or self._known.wary else None
        fresh = self._southbound.on_members
        before, now_s = self._known, time.monotonic()
        now = self._known = judge(sessions, self._gateways, works, before, now_s, fresh=fresh)
        self._hurry(now.hurries(now_s))
        try:
            if now.silent:
                await self._silence()
            left = self._left_behind.look()
            if left or now.wary or now.alone_since_s is not None or self._muted.macs:
                await self._mute(now, left)
            if before.silent and not now.silent:
                await self._release()
        except OvenbirdError as error:
            _log.error(NOT_SILENCED, extra={"error": str(error)})
        if now.silent != before.silent:
            _log.warning(SILENCED if now.silent else RELEASED)
            self._announcer.look()
        if now.wary != before.wary:
            _log.info(WARY if now.wary else TRUSTING, extra={"addresses": len(self._quiet)})

    def _hurry(self, hurries: bool) -> None:
        """Let ovn-controller come before others or not; a new one is started as one that does."""
        if hurries and self._hurries:
            return
        self._hurries = hurries
        spec = self._chassis.controller_spec
        if (running := daemon.find(spec)) is not None:
            precedence.give(running.pid, spec.session_niceness if hurries else precedence.CUT_OFF)

    async def _mute(self, now: Isolation, left: frozenset[Announcement]) -> None:
        """Say nothing for what was not carried at this look and the one before: the flows may be newer than BFD."""
        known, carried = self._announcer.known, self._announcer.carried
        steady, self._carried = carried & self._carried, carried
        self._quiet = muted(known, steady, self._quiet, now)
        quiet = self._quiet | left
        if quiet or self._muted.macs:
            before = self._muted.macs
            await self._muted.keep(quiet)
            if self._muted.macs != before:
                self._announcer.look()
                if left:
                    _log.warning(LEFT_BEHIND, extra={"addresses": len(left)})

    def _sessions(self) -> dict[str, bool | None]:
        """Return this host's ends of BFD by peer; none while it is held, which has its own way of letting go."""
        replica = self._chassis.replica
        if replica is None or not replica.synced or self._chassis.held:
            return {}
        interfaces = replica.table("Interface")
        found: dict[str, bool | None] = {}
        for port in replica.table("Port").values():
            peer = port["external_ids"].get("ovn-chassis-id", "").partition("@")[0]
            for uuid in port["interfaces"] if peer else ():
                if (row := interfaces.get(uuid)) is not None and (status := row["bfd_status"]):
                    up = {"up": True, "down": False, "init": False}.get(str(status.get("state")))
                    found[peer] = True if found.get(peer) else up
        return found

    async def _works(self) -> bool:
        """Whether ovn-controller answers and has a SB to work with.

        It takes a member that fell silent for a live one for ten seconds, and does nothing while a commit hangs there.
        """
        if not self._southbound.is_alive:
            return False
        try:
            status = await daemon.ask(self._chassis.controller_spec, "connection-status", timeout_s=ANSWER_S)
        except (OvsdbError, OSError):
            return False
        return status.strip() == "connected"

    async def _silence(self) -> None:
        for bridge in self._bridges:
            for port in _PATCH.findall(await run("ovs-ofctl", "show", bridge, timeout_s=5)):
                match = f"cookie={COOKIE},priority=65000,hard_timeout={LASTS_S},in_port={port}"
                await run("ovs-ofctl", "add-flow", bridge, f"{match},actions=drop", timeout_s=5)

    async def _release(self) -> None:
        for bridge in self._bridges:
            await run("ovs-ofctl", "del-flows", bridge, f"cookie={COOKIE}/-1", timeout_s=5)
