"""Which lab a `lab` command means when none was named: OVENBIRD_LAB, the only one there is, or "demo"."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ovenbird.cli.servers import Servers
from ovenbird.model.errors import UserError

if TYPE_CHECKING:
    from ovenbird.lab.lab import Lab

DEFAULT = "demo"
F = TypeVar("F", bound=Callable[..., Any])


def name_option(function: F) -> F:
    """Give a command the option `--name`, passed as `name` (None: not given)."""
    return click.option(
        "--name",
        envvar="OVENBIRD_LAB",
        help="Name of the lab; by default the only one there is.  [env: OVENBIRD_LAB]",
    )(function)


def chosen(name: str | None) -> str:
    """Return the name of the lab that is meant; raises `UserError` when several could be."""
    from ovenbird.lab.state import names

    servers = click.get_current_context().find_object(Servers)
    name = name or (servers.lab if servers else "")
    if name:
        return name
    have = names()
    if len(have) > 1:
        raise UserError("several labs are here and none was named", code="which_lab", hint=f"--name: {', '.join(have)}")
    return have[0] if have else DEFAULT


def opened(name: str | None) -> Lab:
    """Return the lab that is meant; raises `UserError` when there is none."""
    from ovenbird.lab.lab import Lab

    return Lab.open(chosen(name))
