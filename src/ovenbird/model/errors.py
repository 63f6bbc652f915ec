"""The error tree: every failure that a person may see, sorted by what that person should do.

    OvenbirdError                 code, subject, evidence, hint, exit_status
    +-- UserError          exit 2  fix your input (carries all problems of a file at once)
    +-- Refused            exit 3  a safety rule said no; names the rule
    +-- Degraded           exit 4  done or alive, but not healthy
    +-- Down               exit 5  the thing asked about does not work
    +-- Unavailable        exit 69 could not ask: no server, no leader, database unreachable
    +-- Bug                exit 70 an invariant of ours is broken
    +-- Timeout            exit 75 not done in time; trying again is reasonable

A message says what happened, to which object, with which evidence, and what to do next.
This module must never import anything of ours: every room may raise from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing wrong with one place of the input."""

    message: str
    """What is wrong, without the place."""
    file: str = ""
    line: int = 0
    """1-based; 0 when the place is not known."""
    kind: str = ""
    name: str = ""
    hint: str = ""
    """What to do next."""

    def render(self) -> str:
        """Return `file:line: Kind/name: message (hint)`, leaving out what is not known."""
        place = f"{self.file or '<input>'}:{self.line}: " if self.line else ""
        subject = f"{self.kind}/{self.name}: " if self.kind else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{place}{subject}{self.message}{hint}"


class OvenbirdError(Exception):
    """Base of every error that Ovenbird raises on purpose."""

    exit_status: ClassVar[int] = 1
    default_code: ClassVar[str] = "error"

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        subject: str = "",
        evidence: str = "",
        hint: str = "",
        problems: Sequence[Problem] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.subject = subject
        self.evidence = evidence
        self.hint = hint
        self.problems = tuple(problems)

    def to_json(self) -> dict[str, Any]:
        """Return the error as the API and `-o json` print it."""
        return {
            "code": self.code,
            "message": self.message,
            "subject": self.subject,
            "evidence": self.evidence,
            "hint": self.hint,
            "exit_status": self.exit_status,
            "problems": [asdict(problem) for problem in self.problems],
        }


class UserError(OvenbirdError):
    """The input is wrong; nothing was changed."""

    exit_status = 2
    default_code = "bad_input"


class Refused(OvenbirdError):
    """A safety rule said no; `code` names the rule."""

    exit_status = 3
    default_code = "refused"


class Degraded(OvenbirdError):
    """Alive or done, but not healthy."""

    exit_status = 4
    default_code = "degraded"


class Down(OvenbirdError):
    """The thing asked about does not work."""

    exit_status = 5
    default_code = "down"


class Unavailable(OvenbirdError):
    """Could not ask. Never to be read as "is down"."""

    exit_status = 69
    default_code = "unavailable"


class Bug(OvenbirdError):
    """An invariant of ours is broken."""

    exit_status = 70
    default_code = "bug"


class Timeout(OvenbirdError):
    """Not done in time; the message names the culprit."""

    exit_status = 75
    default_code = "timeout"


BY_STATUS: dict[int, type[OvenbirdError]] = {
    cls.exit_status: cls for cls in (UserError, Refused, Degraded, Down, Unavailable, Bug, Timeout)
}


def from_json(data: dict[str, Any]) -> OvenbirdError:
    """Rebuild the error that `to_json` described (used by clients of the HTTP API)."""
    cls = BY_STATUS.get(int(data.get("exit_status", 1)), OvenbirdError)
    return cls(
        str(data.get("message", "")),
        code=str(data.get("code", "")),
        subject=str(data.get("subject", "")),
        evidence=str(data.get("evidence", "")),
        hint=str(data.get("hint", "")),
        problems=[Problem(**problem) for problem in data.get("problems", ())],
    )
