"""`ovenbird schema`."""

from __future__ import annotations

import json

import click


@click.command(epilog="Example: ovenbird schema > ovenbird.schema.json")
def schema() -> None:
    """Print the JSON Schema of declarations.

    For editors: with the YAML language server, put `# yaml-language-server: $schema=ovenbird.schema.json` on top of a
    file. No server is asked.
    """
    from ovenbird.model.schema import json_schema

    click.echo(json.dumps(json_schema(), indent=2))
