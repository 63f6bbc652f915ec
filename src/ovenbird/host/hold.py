"""Holds a started ovs-vswitchd back from the tunnels until ovn-controller has given it its flows.

Open vSwitch brings its tunnels' BFD up by itself, so a gateway that came back would draw traffic that it has no flows
for. Two means keep BFD down meanwhile. `flow-restore-wait` (ovs-vswitchd.conf.db(5), Open_vSwitch.other_config) makes
ovs-vswitchd process no packet at all. Where the underlay itself goes through Open vSwitch that would also cut
ovn-controller off from SB, and it installs no flows without SB; so there the tunnels' packets are dropped on the
underlay's bridge, and everything else passes. Always bounded: a switch that gets no flows must not be held for ever.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from contextlib import suppress

from ovenbird.host.switch import root_row
from ovenbird.model.errors import OvenbirdError
from ovenbird.model.layout import Layout
from ovenbird.ovsdb import Client, Replica, Transaction
from ovenbird.plan.switch import INTEGRATION_BRIDGE, UNDERLAY_BRIDGE
from ovenbird.process.command import run

SWITCH_RELEASED = "switch.released"
SWITCH_NOT_HELD = "switch.not_held"
KEY = "flow-restore-wait"
LONGEST_S = 10.0
POLL_S = 0.05
CALM_LOOKS = 4
"""The flows are complete when their number stayed the same this many times."""
GENEVE = "udp,tp_dst=6081"
COOKIE = "0x6f76656e"
_FLOW_COUNT = re.compile(r"flow_count=(\d+)")

_log = logging.getLogger(__name__)


class Hold:
    """Holds one host's ovs-vswitchd; `through_switch` says whether the underlay goes through it."""

    def __init__(self, client: Client, replica: Replica, layout: Layout, *, through_switch: bool) -> None:
        self._client = client
        self._replica = replica
        self._layout = layout
        self._through_switch = through_switch

    async def prepare(self) -> None:
        """Have the next ovs-vswitchd wait, if conf.db still holds tunnels from before."""
        ports = self._replica.table("Port").values()
        if any("ovn-chassis-id" in port["external_ids"] for port in ports):
            await self._set_wait(True)

    async def narrow(self) -> None:
        """Where the underlay goes through the switch: let all but the tunnels pass."""
        if self._is_waiting and self._through_switch:
            # The timeout opens the tunnels even if this agent dies now.
            drop = f"cookie={COOKIE},priority=65000,hard_timeout={LONGEST_S:.0f},{GENEVE},actions=drop"
            try:
                await run("ovs-ofctl", "add-flow", self._bridge(UNDERLAY_BRIDGE), drop, timeout_s=5)
            except OvenbirdError as error:
                _log.warning(SWITCH_NOT_HELD, extra={"error": str(error)})
            await self._set_wait(False)

    async def release(self) -> None:
        """Open the tunnels as soon as the switch has its flows, or after the longest time."""
        if not (self._is_waiting or self._through_switch):
            return
        began = time.monotonic()
        last, calm = 0, 0
        while calm < CALM_LOOKS and time.monotonic() - began < LONGEST_S:
            count = await self._flow_count()
            calm = calm + 1 if count == last and count > 0 else 0
            last = count
            await asyncio.sleep(POLL_S)
        await self._open()
        _log.info(SWITCH_RELEASED, extra={"flows": last, "took_ms": round((time.monotonic() - began) * 1000)})

    async def _open(self) -> None:
        if self._through_switch:
            cookie = f"cookie={COOKIE}/-1"
            await run("ovs-ofctl", "del-flows", self._bridge(UNDERLAY_BRIDGE), cookie, timeout_s=5)
        if self._is_waiting:
            await self._set_wait(False)

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
