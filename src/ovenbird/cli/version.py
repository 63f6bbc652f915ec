"""`ovenbird version`."""

from __future__ import annotations

import click

from ovenbird import __version__
from ovenbird.cli.output import emit, output_option


@click.command(epilog="Example: ovenbird version -o json")
@output_option
def version(output: str) -> None:
    """Print the version."""
    emit({"version": __version__}, output, lambda: f"ovenbird {__version__}")
