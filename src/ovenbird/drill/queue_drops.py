"""How many packets a lab's switches lost before they could look at them: what the machine cost, not the fault.

A lab's switches run in userspace and read packets from the kernel through sockets whose queue is small (208 KiB here,
some ninety full packets). A burst of another connection, the control plane's for example, while a switch waits for a
processor overflows it, and packets of workloads are lost that no network has lost. The kernel counts them, per socket
(ss(8), "d" of skmem). This module must never change a socket.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping

from ovenbird.lab.lab import Lab
from ovenbird.model.errors import OvenbirdError

COMMAND = ("ss", "--packet", "--memory", "--numeric", "--no-header")
ASK_S = 5.0
_DROPPED = re.compile(r"skmem:\([^)]*,d(\d+)\)")


def queue_drops(lab: Lab) -> dict[str, int]:
    """Return, by node that is on, how many packets the kernel has dropped from full queues so far."""
    found = {}
    for name, node in lab.nodes.items():
        if node.spec is not None and node.spec.has_uplink:
            with contextlib.suppress(OvenbirdError):
                done = node.run(COMMAND, timeout_s=ASK_S)
                found[name] = sum(map(int, _DROPPED.findall(done.stdout)))
    return found


def since(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    """Return what came on top; a switch that was started anew counts from 0."""
    grown = {
        name: count - before.get(name, 0) if count >= before.get(name, 0) else count for name, count in after.items()
    }
    return {name: count for name, count in grown.items() if count}
