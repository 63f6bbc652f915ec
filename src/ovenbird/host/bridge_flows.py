"""Changes flows of a provider bridge, many at once, by ovs-ofctl(8).

Whose they are, what they do and when they end is their owners' matter: each has a cookie of its own. Must never touch
flows of a bridge that OVN programs.
"""

from __future__ import annotations

from collections.abc import Iterable

from ovenbird.model.layout import Layout
from ovenbird.process.command import run


async def change_flows(layout: Layout, bridge: str, lines: Iterable[str], *, timeout_s: float) -> None:
    """Add and delete flows, as `ovs-ofctl add-flows` reads them, in this order. Raises `OvenbirdError`."""
    target = f"unix:{layout.ovs_run / bridge}.mgmt"
    text = "".join(f"{line}\n" for line in lines)
    await run("ovs-ofctl", "add-flows", target, "-", stdin=text, timeout_s=timeout_s)
