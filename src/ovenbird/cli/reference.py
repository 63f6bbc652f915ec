"""Writes docs/reference-cli.md from the commands themselves: `python -m ovenbird.cli.reference`.

The page is never written by hand; a test holds it equal to what this prints.
"""

from __future__ import annotations

from collections.abc import Iterator

import click

from ovenbird.cli.main import cli

HEAD = """# Commands

Written by `scripts/reference-cli` from the commands' own help; do not edit.

Data goes to stdout, talk to stderr. With `-o json` or `-o yaml`, stdout holds exactly one document; if the command
fails, that document is `{"error": {code, message, subject, evidence, hint, exit_status, problems}}`. Usage errors are
always text on stderr. Colours are used on terminals only, and not with `NO_COLOR` set.

Completion: `eval "$(_OVENBIRD_COMPLETE=bash_source ovenbird)"` (also `zsh_source`, `fish_source`).
"""


def page() -> str:
    """Return the whole page."""
    root = click.Context(cli, info_name="ovenbird")
    lines = [HEAD, *_options(cli, root), "", "```", click.unstyle(_epilog(cli)), "```"]
    for name in cli.list_commands(root):
        command = cli.get_command(root, name)
        assert command is not None
        lines += _section(command, f"ovenbird {name}", root)
    return "\n".join(lines).rstrip() + "\n"


def _section(command: click.Command, path: str, parent: click.Context) -> Iterator[str]:
    ctx = click.Context(command, info_name=path.rsplit(" ", 1)[-1], parent=parent)
    if isinstance(command, click.Group):
        yield from ("", f"## {path}", "", _text(command))
        for name in command.list_commands(ctx):
            inner = command.get_command(ctx, name)
            if inner is not None and not inner.hidden:
                yield from _section(inner, f"{path} {name}", ctx)
        return
    level = "##" if path.count(" ") == 1 else "###"
    yield from ("", f"{level} {path}", "", "```", " ".join([path, *command.collect_usage_pieces(ctx)]), "```", "")
    yield _text(command)
    yield from _options(command, ctx)
    if command.epilog:
        yield from ("", _epilog(command))


def _text(command: click.Command) -> str:
    paragraphs = (command.help or "").replace("\b", "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _epilog(command: click.Command) -> str:
    return (command.epilog or "").replace("\b\n", "").strip("\n")


def _options(command: click.Command, ctx: click.Context) -> Iterator[str]:
    told = [record for parameter in command.get_params(ctx) if (record := parameter.get_help_record(ctx))]
    records = [(names, text) for names, text in told if text and "--help" not in names]
    if records:
        yield from ("", "| option | |", "|---|---|")
    for names, text in records:
        # GitHub's tables take a bar for a column even inside of code.
        yield "| `{}` | {} |".format(names.replace("|", "\\|"), " ".join(text.split()).replace("|", "\\|"))


if __name__ == "__main__":
    click.echo(page(), nl=False)
