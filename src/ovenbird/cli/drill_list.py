"""`ovenbird drill list|describe`: what there is to run, from the catalogue alone; no lab and no cluster is asked."""

from __future__ import annotations

from typing import Any

import click

from ovenbird.cli.output import emit, output_option, table


@click.command("list", epilog="Example: ovenbird drill list -o json")
@output_option
def list_(output: str) -> None:
    """List the drills, and the faults that this machine cannot inject."""
    from ovenbird.drill.catalogue import DRILLS
    from ovenbird.drill.described import described
    from ovenbird.drill.fault import UNAVAILABLE

    data = {"drills": [described(one) for one in DRILLS], "unavailable_faults": dict(UNAVAILABLE)}
    emit(data, output, lambda: _listed(data))


@click.command(epilog="Example: ovenbird drill describe gateway-crash")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@output_option
def describe(names: tuple[str, ...], output: str) -> None:
    """Show drills: what each needs, its load with its floor, what it breaks, and what must hold."""
    from ovenbird.drill.catalogue import chosen
    from ovenbird.drill.described import described, in_words

    drills = chosen(names)
    data = {"drills": [described(one) for one in drills]}
    emit(data, output, lambda: "\n\n".join(in_words(one) for one in drills))


def _listed(data: dict[str, Any]) -> str:
    rows = [
        [one["name"], "yes" if one["safe_live"] else "no", "yes" if one["baseline"] else "no", one["what"]]
        for one in data["drills"]
    ]
    lines = [table(["name", "safe live", "baseline", "what"], rows)]
    lines += [
        f"  {one['name']} is expected to fail: {one['expected_failure']}"
        for one in data["drills"]
        if one["expected_failure"]
    ]
    lines += ["", "Faults that this machine cannot inject:"]
    lines += [f"  {kind}: {reason}" for kind, reason in data["unavailable_faults"].items()]
    return "\n".join(lines)
