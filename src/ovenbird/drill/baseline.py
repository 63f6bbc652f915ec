"""Stock OVN on the same lab, for comparison: the same daemons at their defaults, without ours.

Agents (and with them controllers) are ended, BFD goes back to its defaults. Daemons that die are then started again by
nobody, as on a host whose service manager does not restart them; `end` starts the agents, and they the daemons.
"""

from __future__ import annotations

import re
import signal
import time

from ovenbird.lab.lab import Lab
from ovenbird.lab.node import Node
from ovenbird.model.cluster import Role
from ovenbird.model.errors import OvenbirdError, Timeout

BFD_KEYS = ("bfd-min-rx", "bfd-min-tx", "bfd-mult")
TIMERS_S, AGAIN_S = 40.0, 0.3
STEADY_S = 4.0
"""Sessions must have been up with their new timers for this long: two gateways whose session fails claim in turn."""
STOCK_DETECT_MS = 3000.0
"""OVS's defaults: min_rx 1000 ms, three times (ovs-vswitchd.conf.db(5), BFD)."""


class Baseline:
    """Turns a lab into stock OVN and back."""

    detect_limit_ms = STOCK_DETECT_MS

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    def begin(self) -> None:
        """End every agent, then put BFD back to its defaults."""
        agents = [node.pids().get("agent") for node in self.lab.nodes.values() if node.is_up]
        for agent in agents:
            if agent is not None:
                agent.signal(signal.SIGTERM)
        for agent in agents:
            if agent is not None and not agent.wait_gone(timeout_s=10):
                agent.signal(signal.SIGKILL)
        central = next(
            node for node in self.lab.nodes.values() if node.spec and Role.CENTRAL in node.spec.roles and node.is_up
        )
        remotes = ",".join(
            f"tcp:{node.spec.address}:6641"
            for node in self.lab.nodes.values()
            if node.spec and Role.CENTRAL in node.spec.roles
        )
        command = ["ovn-nbctl", f"--db={remotes}", "--timeout=10", "remove", "NB_Global", ".", "options", *BFD_KEYS]
        done = central.run(command, timeout_s=15)
        if not done.ok:
            raise OvenbirdError("stock BFD timers could not be set", subject=central.name, evidence=done.stderr)
        self._await_timers()

    def _await_timers(self) -> None:
        """Wait until every BFD session stays up with its new timers: changing them costs a session or two for a moment.

        Raises `Timeout`.
        """
        nodes = [node for node in self.lab.nodes.values() if node.is_up and node.spec and node.spec.has_uplink]
        since_s = time.monotonic()
        deadline_s = since_s + TIMERS_S
        while time.monotonic() - since_s < STEADY_S:
            if not all(_runs_stock_timers(node) for node in nodes):
                since_s = time.monotonic()
            if time.monotonic() > deadline_s:
                raise Timeout(f"BFD does not stay up at its defaults for {STEADY_S:g} s", subject=self.lab.name)
            time.sleep(AGAIN_S)

    def end(self) -> None:
        """Start the agents again; they start what has died, and the controller sets its timers."""
        self.lab.up()


def _runs_stock_timers(node: Node) -> bool:
    columns = "--columns=bfd,bfd_status"
    command = ["ovs-vsctl", "--timeout=5", "--bare", columns, "find", "Interface", "bfd:enable=true"]
    done = node.run(command, timeout_s=10)
    ours = any(key in done.stdout for key in ("min_rx=", "min_tx="))
    up = len(re.findall(r"(?<!remote_)state=up", done.stdout))
    return done.ok and not ours and up == done.stdout.count("enable=true")
