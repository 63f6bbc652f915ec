"""Holds a started ovs-vswitchd back from the tunnels until ovn-controller has given it its flows.

Open vSwitch brings its tunnels' BFD up by itself, so a gateway that came back would draw traffic that it has no flows
for. Two means keep BFD down meanwhile. `flow-restore-wait` (ovs-vswitchd.conf.db(5), Open_vSwitch.other_config) makes
ovs-vswitchd process no packet at all. Where the underlay itself goes through Open vSwitch that would also cut
ovn-controller off from SB, and it installs no flows without SB; so there the tunnels' packets are dropped on the
underlay's bridge, and everything else passes. What is dropped ends by itself if this agent does.

A gateway is let go in two steps: first it hears the other gateways, then everybody. One that sees a workload's host
before it sees the gateway that carries a router by now would take itself for the best that lives, and answer as well.
So would one that sees one of the other gateways before the rest: sessions come up one by one, within a second, and
ovn-controller is paused until all of them are there.
Before that it waits while others carry what it would take by an order that nobody has brought up to date, as when the
central tier starts together with it (`ovenbird.host.returning`). What was lost meanwhile is nothing: without flows, or
beside others that answer, it is of no use to anybody. A host with workloads of its own does not wait: they need it.
And on a gateway that is not the only one the next ovs-vswitchd is told to wait as soon as this one works, so that
one that its own monitor has started again, or the host's boot, is held as well. A running one does not read it again.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from ovenbird.host.pausing import paused
from ovenbird.host.returning import Returning
from ovenbird.host.switch import is_settled, root_row
from ovenbird.model.errors import OvenbirdError
from ovenbird.model.layout import Layout
from ovenbird.ovsdb import Client, DeadlineExceeded, Replica, Transaction
from ovenbird.plan.switch import INTEGRATION_BRIDGE, UNDERLAY_BRIDGE
from ovenbird.process import daemon
from ovenbird.process.command import run
from ovenbird.process.daemon import DaemonSpec, Running

SWITCH_RELEASED = "switch.released"
SWITCH_NOT_HELD = "switch.not_held"
SWITCH_WAITS = "switch.waits"
KEY = "flow-restore-wait"
LONGEST_S = 10.0
"""The longest wait for flows where no other gateway can carry on meanwhile."""
POLL_S = 0.05
RENEW_S = 3.0
"""The flow that holds the tunnels is renewed so often."""
BRIDGES_S = 3.0
"""How long a new ovs-vswitchd may take to have its bridges."""
CALM_LOOKS = 4
"""The flows are complete when their number stayed the same this many times."""
GENEVE = "udp,tp_dst=6081"
COOKIE = "0x6f76656e"
GATEWAYS_FIRST_S = 2.5
"""How long other gateways may take to be seen: BFD sends once a second while a session is down (RFC 5880, 6.8.3)."""
SERVING = "ovenbird-serving"
"""external_ids key: the ovs-vswitchd that has been let go, so that a restarted agent does not hold it once more."""
_FLOW_COUNT = re.compile(r"flow_count=(\d+)")

_log = logging.getLogger(__name__)


class Hold:
    """Holds one host's ovs-vswitchd; `through_switch` says whether the underlay goes through it.

    `gateways`: the other gateways, by name, with their addresses; none if this host is no gateway. `returning`: makes
    what tells whether this one may take what they carry.
    """

    def __init__(
        self,
        client: Client,
        replica: Replica,
        layout: Layout,
        controller: DaemonSpec,
        *,
        through_switch: bool,
        gateways: Mapping[str, str],
        returning: Callable[[], Returning],
    ) -> None:
        self._gateways = dict(gateways)
        self._returning = returning
        self._renewed_s = 0.0
        self._narrowed = False
        """Whether the tunnels are held by a flow."""
        self._client = client
        self._replica = replica
        self._layout = layout
        self._controller = controller
        self._through_switch = through_switch

    async def prepare(self) -> None:
        """Have the next ovs-vswitchd wait, if conf.db still holds tunnels from before."""
        ports = self._replica.table("Port").values()
        if any("ovn-chassis-id" in port["external_ids"] for port in ports):
            await self._set_wait(True)

    def is_serving(self, running: Running | None) -> bool:
        """Whether this very process was let go before: what is asked of the next one does not concern it."""
        root = root_row(self._replica)
        return running is not None and root is not None and root["external_ids"].get(SERVING) == _name(running)

    async def rearm(self, running: Running | None) -> None:
        """Have the next ovs-vswitchd wait, however it is started, where another gateway can carry on meanwhile."""
        root = root_row(self._replica)
        if running is None or root is None or not self._gateways:
            return
        txn = Transaction("ovenbird agent: the next ovs-vswitchd is to wait")
        txn.mutate("Open_vSwitch", "external_ids", "delete", [SERVING], uuid=root.uuid)
        txn.mutate("Open_vSwitch", "external_ids", "insert", {SERVING: _name(running)}, uuid=root.uuid)
        txn.mutate("Open_vSwitch", "other_config", "delete", [KEY], uuid=root.uuid)
        txn.mutate("Open_vSwitch", "other_config", "insert", {KEY: "true"}, uuid=root.uuid)
        await self._client.transact(txn)

    async def narrow(self) -> None:
        """Where the underlay goes through the switch: let all but the tunnels pass."""
        self._narrowed = False
        if self._is_waiting and self._through_switch:
            began = time.monotonic()
            while not self._narrowed:
                try:
                    await self._drop()
                    self._narrowed = True
                except OvenbirdError as error:
                    # One that its own monitor has just started has no bridges yet; it drops everything meanwhile.
                    if time.monotonic() - began > BRIDGES_S:
                        _log.warning(SWITCH_NOT_HELD, extra={"error": str(error)})
                        break
                    await asyncio.sleep(POLL_S)
            await self._set_wait(False)

    async def _drop(self) -> None:
        # The timeout opens the tunnels even if this agent dies now.
        drop = f"cookie={COOKIE},priority=65000,hard_timeout={LONGEST_S:.0f},{GENEVE},actions=drop"
        await run("ovs-ofctl", "add-flow", self._bridge(UNDERLAY_BRIDGE), drop, timeout_s=5)
        self._renewed_s = time.monotonic()

    async def _renew(self) -> None:
        if self._narrowed and time.monotonic() - self._renewed_s >= RENEW_S:
            try:
                await self._drop()
            except OvenbirdError as error:
                _log.warning(SWITCH_NOT_HELD, extra={"error": str(error)})

    async def release(self, held: Running | None) -> None:
        """Open the tunnels as soon as the switch has its flows and may serve; not at all if that process is gone.

        Without other gateways that can carry on it is opened after the longest time, whatever it has.
        """
        if not (self._is_waiting or self._through_switch):
            return
        began = time.monotonic()
        why = ""
        if self._gateways and self._is_held and not self._has_workloads:
            why = await self._return(held)
        last = await self._have_flows(held, longest_s=LONGEST_S)
        if not _lives(held):
            return
        if self._gateways and self._is_held:
            async with paused(self._controller):
                await (self._open_to_gateways() if self._narrowed else self._open())
                await self._see_gateways()
        await self._open()
        took_ms = round((time.monotonic() - began) * 1000)
        _log.info(SWITCH_RELEASED, extra={"flows": last, "took_ms": took_ms, "why": why})

    async def _return(self, held: Running | None) -> str:
        """Wait while there are no flows, or others carry what would come here; return why not any longer."""
        returning = self._returning()
        asking = asyncio.create_task(returning.run())
        try:
            await self._have_flows(held, longest_s=math.inf)
            unread_until_s = time.monotonic() + LONGEST_S
            while (ruling := returning.ruling).waits and _lives(held):
                if asking.done():
                    asking.result()
                if not returning.has_read and time.monotonic() > unread_until_s:
                    return ruling.why
                if not returning.waited and returning.has_read:
                    returning.waited = True
                    _log.info(SWITCH_WAITS, extra={"why": ruling.why})
                    await self._have_next_wait()
                await self._renew()
                await asyncio.sleep(POLL_S)
            return ruling.why
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    async def _have_flows(self, held: Running | None, *, longest_s: float) -> int:
        """Return how many flows there are when they are complete; when the process is gone, or after the time."""
        began = time.monotonic()
        last, calm = 0, 0
        while calm < CALM_LOOKS and time.monotonic() - began < longest_s and _lives(held):
            count = await self._flow_count()
            calm = calm + 1 if count == last and count > 0 else 0
            last = count
            await self._renew()
            await asyncio.sleep(POLL_S)
        return last

    async def _have_next_wait(self) -> None:
        """Have the next ovs-vswitchd wait; this one must have read before that it does not."""
        root = root_row(self._replica)
        if not self._narrowed or root is None:
            return
        txn = Transaction("ovenbird agent: is it settled")
        txn.mutate("Open_vSwitch", "next_cfg", "+=", 1, uuid=root.uuid)
        await self._client.transact(txn)
        with suppress(DeadlineExceeded):
            await self._replica.wait_until(is_settled, timeout_s=LONGEST_S / 2)
            await self._set_wait(True)

    async def _open_to_gateways(self) -> None:
        """Let the tunnels to the other gateways pass, and no others."""
        allow = [
            f"cookie={COOKIE},priority=65001,hard_timeout={LONGEST_S:.0f},{GENEVE},{field}={address},actions=NORMAL"
            for address in self._gateways.values()
            for field in (("ipv6_src", "ipv6_dst") if ":" in address else ("nw_src", "nw_dst"))
        ]
        try:
            words = ("ovs-ofctl", "add-flows", self._bridge(UNDERLAY_BRIDGE), "-")
            await run(*words, stdin="".join(f"{flow}\n" for flow in allow), timeout_s=5)
        except OvenbirdError as error:
            _log.warning(SWITCH_NOT_HELD, extra={"error": str(error)})

    async def _see_gateways(self) -> None:
        """Return when BFD is up with the other gateways, or cannot be expected any more."""
        deadline_s = time.monotonic() + GATEWAYS_FIRST_S
        while self._unseen() and time.monotonic() < deadline_s:
            await asyncio.sleep(POLL_S)

    def _unseen(self) -> frozenset[str]:
        """Return the other gateways with which BFD should run and is not up."""
        interfaces = self._replica.table("Interface")
        unseen = set()
        for port in self._replica.table("Port").values():
            peer = port["external_ids"].get("ovn-chassis-id", "").partition("@")[0]
            for uuid in port["interfaces"] if peer in self._gateways else ():
                status = row["bfd_status"] if (row := interfaces.get(uuid)) is not None else {}
                if status and status.get("state") != "up":
                    unseen.add(peer)
        return frozenset(unseen)

    async def _open(self) -> None:
        if self._through_switch:
            cookie = f"cookie={COOKIE}/-1"
            await run("ovs-ofctl", "del-flows", self._bridge(UNDERLAY_BRIDGE), cookie, timeout_s=5)
        if self._is_waiting:
            await self._set_wait(False)

    @property
    def _is_held(self) -> bool:
        return self._narrowed or not self._through_switch

    @property
    def _has_workloads(self) -> bool:
        return any("iface-id" in row["external_ids"] for row in self._replica.table("Interface").values())

    @property
    def _is_waiting(self) -> bool:
        root = root_row(self._replica)
        return root is not None and root["other_config"].get(KEY) == "true"

    async def _set_wait(self, wait: bool) -> None:
        root = root_row(self._replica)
        if root is None:
            return
        txn = Transaction("ovenbird agent: hold the switch" if wait else "ovenbird agent: let the switch go")
        txn.mutate("Open_vSwitch", "other_config", "delete", [KEY], uuid=root.uuid)
        if wait:
            txn.mutate("Open_vSwitch", "other_config", "insert", {KEY: "true"}, uuid=root.uuid)
        await self._client.transact(txn)

    async def _flow_count(self) -> int:
        """Return how many flows br-int has; 0 when it cannot be asked."""
        with suppress(OvenbirdError):
            words = ("ovs-ofctl", "dump-aggregate", self._bridge(INTEGRATION_BRIDGE))
            match = _FLOW_COUNT.search(await run(*words, timeout_s=2))
            return int(match[1]) if match else 0
        return 0

    def _bridge(self, name: str) -> str:
        return f"unix:{self._layout.ovs_run / name}.mgmt"


def _lives(running: Running | None) -> bool:
    now = daemon.process_of(running.pid) if running is not None else None
    return running is not None and now is not None and now.started == running.started


def _name(running: Running) -> str:
    return f"{running.pid} {running.started}"
