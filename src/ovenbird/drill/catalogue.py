"""The catalogue of drills. Data only: what each breaks, what must hold meanwhile, and how soon it must be over.

Limits are for the timers of a lab (BFD 200 ms x 3, election timer 1 s) on a small machine: they are bounds that a run
must keep, not the figures; the figures are what was measured (docs/figures.md).
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from ovenbird.drill.catalogue_control import CONTROL
from ovenbird.drill.catalogue_gateways import GATEWAYS
from ovenbird.drill.catalogue_many import MANY
from ovenbird.drill.catalogue_terms import HA
from ovenbird.drill.judge import Expect
from ovenbird.drill.script import Drill, Return, once
from ovenbird.model.errors import UserError

DRILLS: tuple[Drill, ...] = (
    Drill(
        name="noop",
        what="break nothing: shows what this machine does to packets by itself",
        steps=once("noop", "everything", hold_s=5.0),
        expect=Expect(write_outage_ms=1000.0),
        returns=Return.NONE,
        is_safe_live=True,
    ),
    *GATEWAYS,
    *MANY,
    *CONTROL,
)

BY_NAME: dict[str, Drill] = {drill.name: drill for drill in DRILLS}


def chosen(names: Sequence[str]) -> tuple[Drill, ...]:
    """Return the drills of these names, in the order given; "all" is every one that a lab of the usual size carries.

    Raises `UserError` for a wrong name.
    """
    found: list[Drill] = []
    for name in names:
        if name == "all":
            found += [drill for drill in DRILLS if drill.needs.gateways <= HA.gateways]
        elif name in BY_NAME:
            found.append(BY_NAME[name])
        else:
            near = difflib.get_close_matches(name, BY_NAME, n=1)
            hint = f'did you mean "{near[0]}"?' if near else "`ovenbird drill list` names them"
            raise UserError(f"there is no drill {name}", subject=name, hint=hint)
    return tuple(found)
