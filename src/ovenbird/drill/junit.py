"""Verdicts as JUnit XML, which every CI system reads.

A fail is a failure; an invalid run is an error (it proves nothing); a failure that the catalogue expects is skipped,
with the reason, and so is an invalid run that others were made for. This module must never judge.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree

from ovenbird.drill.judge import FIGURES, Outcome
from ovenbird.drill.judged import Judged
from ovenbird.drill.outage import NS_PER_MS
from ovenbird.drill.record import Meta

FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML cannot hold, not even escaped; a daemon's log line may have them."""


def junit(runs: Sequence[tuple[Meta, Judged, bool]]) -> str:
    """Return the XML document of runs in their order: what, verdict, and whether others were made in its place."""
    suite = ElementTree.Element("testsuite", name="ovenbird drills", tests=str(len(runs)))
    counts = {"failures": 0, "errors": 0, "skipped": 0}
    total_s = 0.0
    for meta, run, superseded in runs:
        seconds = (meta.ended_ns - meta.started_ns) / NS_PER_MS / 1000
        total_s += seconds
        where = f"{'baseline.' if meta.baseline else ''}{run.drill}"
        case = ElementTree.SubElement(
            suite, "testcase", classname=where, name=f"{run.drill} seed {meta.seed}", time=f"{seconds:.3f}"
        )
        verdict = _verdict(run, superseded)
        if verdict:
            counts[verdict[0]] += 1
            reasons = run.verdict.reasons
            message = run.expected_failure if run.is_expected else (reasons[0] if reasons else run.outcome.value)
            message = f"run again, because it proved nothing: {message}" if superseded else message
            detail = ElementTree.SubElement(case, verdict[1], message=_clean(message))
            detail.text = _clean("\n".join(reasons))
        output = ElementTree.SubElement(case, "system-out")
        output.text = _clean(_figures(run))
    for key, value in counts.items():
        suite.set(key, str(value))
    suite.set("time", f"{total_s:.3f}")
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def _verdict(run: Judged, superseded: bool) -> tuple[str, str] | None:
    if run.is_expected or superseded:
        return "skipped", "skipped"
    return {Outcome.PASS: None, Outcome.FAIL: ("failures", "failure"), Outcome.INVALID: ("errors", "error")}[
        run.outcome
    ]


def _figures(run: Judged) -> str:
    shown = run.verdict.to_json()
    return " ".join(f"{key}={shown[key]}" for key in FIGURES if shown[key] is not None)


def _clean(text: str) -> str:
    return FORBIDDEN.sub("?", text)
