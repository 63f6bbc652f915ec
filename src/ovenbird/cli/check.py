"""`ovenbird check`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from ovenbird.cli.output import emit, output_option, say
from ovenbird.cli.servers import Servers
from ovenbird.model.errors import Degraded, Unavailable

CHECK_TIMEOUT_S = 12.0


@click.command(epilog="Example: ovenbird check -o json")
@output_option
@click.pass_context
def check(ctx: click.Context, output: str) -> None:
    """Tell what is unsafe as it is built, even while everything works.

    Single points of failure, lists of gateways that cannot work, physical networks that could loop, and forms that
    OVN no longer follows, in our rows and in those of others; each with the reason and what to do. What is broken now
    is told by `status`. Exits with 0 when nothing is unsafe (there may be warnings), 4 when something is, 69 when
    something could not be asked and nothing else is unsafe.
    """
    servers: Servers = ctx.obj
    seen = servers.client().get("/v1/check", timeout_s=CHECK_TIMEOUT_S)
    emit(seen, output, lambda: as_text(seen))
    for unknown in seen["unknown"]:
        say(f"could not ask: {unknown}")
    if any(finding["severity"] == "unsafe" for finding in seen["findings"]):
        ctx.exit(Degraded.exit_status)
    if seen["unknown"]:
        ctx.exit(Unavailable.exit_status)


def as_text(seen: Mapping[str, Any]) -> str:
    """Return the findings for people."""
    if not seen["findings"]:
        return "nothing unsafe was found" if not seen["unknown"] else "nothing unsafe was found in what could be asked"
    lines = []
    for finding in seen["findings"]:
        lines.append(f"{finding['severity'].upper()}  {finding['subject']}: {finding['message']}  [{finding['rule']}]")
        if finding["hint"]:
            lines.append(f"        {finding['hint']}")
    return "\n".join(lines)
