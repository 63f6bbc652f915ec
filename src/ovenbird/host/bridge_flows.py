"""Changes flows of a provider bridge, many at once, by ovs-ofctl(8).

Whose they are, what they do and when they end is their owners' matter: each has a cookie of its own. Must never touch
flows of a bridge that OVN programs.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from ovenbird.model.errors import OvenbirdError
from ovenbird.model.layout import Layout
from ovenbird.process.command import run

TRIED_S = 0.5

_log = logging.getLogger(__name__)


async def change_flows(layout: Layout, bridge: str, lines: Iterable[str], *, timeout_s: float) -> None:
    """Add and delete flows, as `ovs-ofctl add-flows` reads them, in this order. Raises `OvenbirdError`."""
    target = f"unix:{layout.ovs_run / bridge}.mgmt"
    text = "".join(f"{line}\n" for line in lines)
    await run("ovs-ofctl", "add-flows", target, "-", stdin=text, timeout_s=timeout_s)


async def try_flows(layout: Layout, by_bridge: Mapping[str, Iterable[str]], failed: str) -> None:
    """Change flows of several bridges for a move, which goes on where that cannot be done: `failed` is then logged."""
    for bridge, lines in by_bridge.items():
        try:
            await change_flows(layout, bridge, sorted(lines), timeout_s=TRIED_S)
        except OvenbirdError as error:
            _log.warning(failed, extra={"bridge": bridge, "error": str(error)})
