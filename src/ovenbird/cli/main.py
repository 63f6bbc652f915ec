"""The `ovenbird` command: global options, the table of sub-commands, and the one place where errors become exit codes.

Sub-commands are imported only when they are called, so that `ovenbird --help` and shell completion answer at once; the
table below carries the one-line help that the listing needs. This module must never import a verb, pydantic, starlette
or yaml at its top.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any, ClassVar

import click

from ovenbird.cli.output import report_bug, report_error
from ovenbird.cli.servers import Servers
from ovenbird.model.errors import OvenbirdError, UserError

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it (128 + SIGINT)."""
STDOUT = 1
BROKEN_PIPE = 141
"""Exit status when the reader of our output has gone, as shells have it (128 + SIGPIPE)."""

EPILOG = """\b
Exit codes:
  0   ok
  1   `plan --exit-code`: there are changes
  2   bad input or usage; nothing was changed
  3   refused by a safety rule
  4   degraded: done or alive, but not healthy
  5   down: the thing asked about does not work
  69  could not ask: no server, no leader, database unreachable
  70  a bug of ours
  75  not done in time; trying again is reasonable
  130 interrupted

\b
Start here:
  ovenbird lab up && ovenbird status
  ovenbird plan -f networks.yaml
  ovenbird apply -f networks.yaml --wait
"""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called."""

    TABLE: ClassVar[dict[str, tuple[str, str]]] = {
        "apply": ("ovenbird.cli.apply:apply", "Make the declared state that of these files."),
        "plan": ("ovenbird.cli.plan:plan", "Show what apply would change."),
        "get": ("ovenbird.cli.get:get", "List declared objects."),
        "describe": ("ovenbird.cli.describe:describe", "Show one object with everything known about it."),
        "delete": ("ovenbird.cli.delete:delete", "Delete declared objects."),
        "wait": ("ovenbird.cli.wait:wait", "Wait until every chassis has what is declared."),
        "status": ("ovenbird.cli.status:status", "Tell whether it is healthy, and if not, where."),
        "check": ("ovenbird.cli.check:check", "Tell what is unsafe as it is built, even while everything works."),
        "gateway": ("ovenbird.cli.gateway:gateway", "See and move what gateways carry."),
        "port": ("ovenbird.cli.port:port", "Attach and detach workloads."),
        "schema": ("ovenbird.cli.schema:schema", "Print the JSON Schema of declarations."),
        "lab": ("ovenbird.cli.lab:lab", "Run a whole cluster on this machine."),
        "drill": ("ovenbird.cli.drill:drill", "Break things on purpose and measure."),
        "agent": ("ovenbird.cli.agent:agent", "Run this host's agent."),
        "version": ("ovenbird.cli.version:version", "Print the version."),
    }
    """Name -> (module:attribute, one line of help). Tests hold the help equal to each command's own."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return every name, in the order of the table."""
        return list(self.TABLE)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command."""
        if cmd_name not in self.TABLE:
            return None
        module, attribute = self.TABLE[cmd_name][0].split(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, suggesting a near one for a typing error."""
        if args[0] not in self.TABLE and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], self.TABLE, n=1)
            hint = f'; did you mean "{near[0]}"?' if near else ""
            ctx.fail(f'no such command "{args[0]}"{hint}')
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; when our reader has gone, end as shells expect, before click makes it exit status 1."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            silence_stdout()
            ctx.exit(BROKEN_PIPE)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the listing from the table, without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self.TABLE.items()])


@click.group(
    cls=LazyGroup,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.option(
    "--server",
    "servers",
    multiple=True,
    envvar="OVENBIRD_SERVER",
    metavar="unix:PATH",
    help="API to ask; repeat or separate by commas to give several, tried in turn.  [env: OVENBIRD_SERVER]",
)
@click.option(
    "--lab",
    envvar="OVENBIRD_LAB",
    metavar="NAME",
    help="Ask the central nodes of this lab.  [env: OVENBIRD_LAB]",
)
@click.version_option(package_name="ovenbird", message="ovenbird %(version)s")
@click.pass_context
def cli(ctx: click.Context, servers: tuple[str, ...], lab: str | None) -> None:
    """Keep an OVN network up.

    Without --server and --lab, this host's own API is asked (/run/ovenbird/api.sock), else the only lab that is up.
    """
    if os.environ.get("NO_COLOR"):
        ctx.color = False
    ctx.obj = Servers(given=servers, lab=lab or "")


def run(args: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; every error has been told by then."""
    try:
        status = cli.main(args=None if args is None else list(args), prog_name="ovenbird", standalone_mode=False)
        sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except click.ClickException as error:
        report_error(usage_error(error))
        return UserError.exit_status
    except click.Abort:
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except BrokenPipeError:  # on the last flush
        silence_stdout()
        return BROKEN_PIPE
    except OvenbirdError as error:
        report_error(error)
        return error.exit_status
    except Exception as error:  # the last resort: whatever it is, it is our bug, and says so
        return report_bug(error)


def usage_error(error: click.ClickException) -> UserError:
    """Return click's complaint as one of ours, so that it looks and exits like every other."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "ovenbird"
    return UserError(error.format_message(), code="usage", hint=f"see `{command} --help`")


def silence_stdout() -> None:
    """Point stdout nowhere, so that the interpreter's last flush does not complain about the broken pipe."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, STDOUT)
    os.close(nowhere)


def main() -> Any:
    """Entry point of the console script."""
    sys.exit(run())


if __name__ == "__main__":
    main()
