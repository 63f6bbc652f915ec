"""Whether a fault hit what it was meant for, from a run's record: who was hit lost its part to another.

That a fault took effect on its target is verified by its injector; that the target was the right one, and that somebody
took over, only the cluster's own words show. This module must never read a clock or a file.
"""

from __future__ import annotations

from collections.abc import Sequence

from ovenbird.drill.record import EPOCH_CHANGED, GATEWAY_CLAIMED, ROLE_CHANGED, RunRecord

CONTROLLER = "controller"


def unmoved(record: RunRecord) -> list[str]:
    """Return why the run shows no router that was moved away from who was hit."""
    claims = sorted((one for one in record.timeline if one.kind == GATEWAY_CLAIMED), key=lambda one: one.at_ns)
    before = {one.subject: str(one.data["chassis"]) for one in claims if one.at_ns < record.fault_ns}
    targets = {node for window in record.meta.windows for node in window.targets}
    hit = {port for port, chassis in before.items() if chassis in targets}
    if not hit:
        carriers = ", ".join(sorted(set(before.values()))) or "nobody that was seen"
        return [f"{', '.join(sorted(targets))} was hit while {carriers} carried the router"]
    later = [one for one in claims if one.at_ns >= record.fault_ns and one.subject in hit]
    if any(one.data["chassis"] not in ("", before[one.subject]) for one in later):
        return []
    return [f"{', '.join(sorted(hit))} never left {', '.join(sorted({before[port] for port in hit}))}"]


def unsucceeded(record: RunRecord, names: Sequence[str]) -> list[str]:
    """Return who was not succeeded after the fault: the controller in a later epoch, a leader in a later term."""
    return [
        f"the {_noun(name)} was not succeeded by another: the fault proves nothing"
        for name in names
        if not _newer(record, name)
    ]


def _newer(record: RunRecord, name: str) -> bool:
    """Whether a later epoch or term began after the fault than any that was seen before it."""
    reigns = [(at_ns, number) for at_ns, number in _reigns(record, name) if number]
    before = max((number for at_ns, number in reigns if at_ns < record.fault_ns), default=0)
    return any(number > before for at_ns, number in reigns if at_ns >= record.fault_ns) and before > 0


def _reigns(record: RunRecord, name: str) -> list[tuple[int, int]]:
    if name == CONTROLLER:
        return [(one.at_ns, int(one.data["epoch"])) for one in record.timeline if one.kind == EPOCH_CHANGED]
    return [
        (one.at_ns, int(one.data.get("term") or 0))
        for one in record.timeline
        if one.kind == ROLE_CHANGED and one.data["database"] == name and one.data["role"] == "leader"
    ]


def _noun(name: str) -> str:
    return "acting controller" if name == CONTROLLER else f"{name} leader"
