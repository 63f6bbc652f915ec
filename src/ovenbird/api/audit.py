"""A full audit as the API shows it: everything that the acting controller would still change in NB, and why."""

from __future__ import annotations

from typing import Any

from ovenbird.controller.leadership import LeadershipLost
from ovenbird.controller.service import ControllerService
from ovenbird.model.errors import Unavailable

SHOWN = 100
"""At most so many steps and conflicts are told one by one; the counts are of all."""


async def audited(service: ControllerService) -> dict[str, Any]:
    """Return what `GET /v1/audit` answers; raises Unavailable `not_acting` anywhere but at the acting controller."""
    try:
        plan = await service.reconciler.audit()
    except LeadershipLost as error:
        raise Unavailable(
            f"the controller on {service.node} cannot tell: {error}",
            code="not_acting",
            subject=service.node,
            evidence=f"acting: {service.leadership.holder or 'unknown'}",
            hint="ask the host of the acting controller; see `ovenbird status`",
        ) from None
    return {
        "revision": service.store.revision,
        "epoch": service.leadership.epoch,
        "holder": service.node,
        "steps": len(plan.steps),
        "conflicts": len(plan.conflicts),
        "shown": [
            *(f"{type(step).__name__} {step.table} {step.uuid}: {step.reason}" for step in plan.steps[:SHOWN]),
            *(f"{each.owner}: {each.kind.value}: {each.detail}" for each in plan.conflicts[:SHOWN]),
        ],
    }
