"""A verdict together with the rules that it was given by, as verdict.json keeps it.

A page that is made again later must show the limits of its time, not those of today. This module must never judge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ovenbird.drill.commits import NAME as NB
from ovenbird.drill.integrity import flaws
from ovenbird.drill.invariants import INVARIANTS, Violation, unproven
from ovenbird.drill.judge import FIGURES, Figures, Outcome, Verdict, stream_limit_ms
from ovenbird.drill.record import RunRecord
from ovenbird.drill.script import Drill

HELD, VIOLATED, UNPROVEN, UNASKED = "held", "violated", "no evidence", "not checked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One invariant and what came of it."""

    name: str
    what: str
    state: str
    """held, violated, no evidence (the record says nothing on it), or not checked (the run is invalid)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What a run proved, and by which rules."""

    drill: str
    what: str
    """The drill's one line for people."""
    verdict: Verdict
    stream_limits_ms: Mapping[str, float | None]
    write_limit_ms: float | None
    nb_limit_ms: float | None
    return_limit_ms: float | None
    invariants: Sequence[Checked]
    expected_failure: str = ""
    """Why the drill fails today; "" when it should pass."""
    checker: str = ""
    """Version of Ovenbird that judged."""

    @property
    def outcome(self) -> Outcome:
        """The verdict in one word."""
        return self.verdict.outcome

    @property
    def worst_stream(self) -> str:
        """Name of the stream with the largest outage; "" without streams."""
        streams = self.verdict.figures.streams
        return max(sorted(streams), key=lambda name: streams[name]["outage_ms"], default="")

    @property
    def packet_limit_ms(self) -> float | None:
        """Limit of the stream with the largest outage: each stream may have its own."""
        return self.stream_limits_ms.get(self.worst_stream)

    @property
    def is_expected(self) -> bool:
        """Whether the run failed as it was expected to."""
        return bool(self.expected_failure) and self.outcome is Outcome.FAIL

    def to_json(self) -> dict[str, Any]:
        """Return what verdict.json holds: the verdict's own keys, and the rules beside them."""
        return {
            "drill": self.drill,
            "what": self.what,
            **self.verdict.to_json(),
            "stream_limits_ms": dict(self.stream_limits_ms),
            "write_limit_ms": self.write_limit_ms,
            "nb_limit_ms": self.nb_limit_ms,
            "return_limit_ms": self.return_limit_ms,
            "invariants": [asdict(one) for one in self.invariants],
            "expected_failure": self.expected_failure,
            "checker": self.checker,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Judged:
        """Return what `to_json` was called on; raises KeyError and the like for other data."""
        keys = (*FIGURES, "streams", "calls")
        data = {**dict.fromkeys(FIGURES), **data}  # verdicts of earlier versions tell less
        verdict = Verdict(
            outcome=Outcome(data["outcome"]),
            reasons=tuple(data["reasons"]),
            figures=Figures(**{key: data[key] for key in keys}, spreading=data.get("spreading")),
            violations=tuple(Violation(**one) for one in data["violations"]),
        )
        return cls(
            drill=data["drill"],
            what=data["what"],
            verdict=verdict,
            stream_limits_ms=data["stream_limits_ms"],
            write_limit_ms=data["write_limit_ms"],
            nb_limit_ms=data["nb_limit_ms"],
            return_limit_ms=data["return_limit_ms"],
            invariants=tuple(Checked(**one) for one in data["invariants"]),
            expected_failure=data["expected_failure"],
            checker=data["checker"],
        )


def judged(record: RunRecord, drill: Drill, verdict: Verdict, *, checker: str = "") -> Judged:
    """Return a verdict with the rules of its drill."""
    return Judged(
        drill=drill.name,
        what=drill.what,
        verdict=verdict,
        stream_limits_ms={name: stream_limit_ms(drill.expect, name) for name in sorted(verdict.figures.streams)},
        write_limit_ms=drill.expect.write_outage_ms,
        nb_limit_ms=drill.expect.streams.get(NB),
        return_limit_ms=drill.expect.return_outage_ms,
        invariants=_checked(record, drill, verdict),
        expected_failure=drill.expected_failure,
        checker=checker,
    )


def _checked(record: RunRecord, drill: Drill, verdict: Verdict) -> tuple[Checked, ...]:
    names = drill.expect.invariants
    violated = {violation.invariant for violation in verdict.violations}
    silent = set(unproven(record, names))

    def state(name: str) -> str:
        if name in violated:
            return VIOLATED
        if verdict.outcome is Outcome.INVALID:
            return UNASKED
        return UNPROVEN if name in silent else HELD

    whole = () if not flaws(record) else (Checked(name="record-whole", what=flaws(record)[0], state=VIOLATED),)
    return (*whole, *(Checked(name=name, what=INVARIANTS[name].what, state=state(name)) for name in names))
