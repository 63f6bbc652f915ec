"""What cannot be realised of single objects, kept apart so that it never holds up the others.

It must never decide what is a problem: the reconciler puts in what diff, placement and the server said.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ovenbird.controller.events import PROBLEM_CLEARED, PROBLEM_RAISED, Events
from ovenbird.model.objects import Key

FIRST_RETRY_S = 2.0
LAST_RETRY_S = 60.0


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why an object is not realised."""

    code: str
    """"name_taken", "missing_row", "foreign_children", "foreign_holder", "unplaced"; "refused" by NB."""
    detail: str
    """For people."""

    def to_json(self) -> dict[str, Any]:
        """Return it as the API shows it."""
        return {"code": self.code, "detail": self.detail}


class Problems(Mapping[Key, tuple[Trouble, ...]]):
    """The present problems by object, and when each object is worth another try."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._found: dict[Key, tuple[Trouble, ...]] = {}
        self._tries: dict[Key, int] = {}
        self._retry_at_s: dict[Key, float] = {}

    def __getitem__(self, key: Key) -> tuple[Trouble, ...]:
        return self._found[key]

    def __iter__(self) -> Iterator[Key]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def judge(self, owners: Iterable[Key], found: Mapping[Key, tuple[Trouble, ...]], now_s: float) -> None:
        """Take in what was found for these objects: nothing is a clean bill."""
        for key in owners:
            if troubles := found.get(key):
                self._raise(key, troubles, now_s)
            else:
                self._clear(key)

    def forget(self) -> None:
        """Somebody else leads, and knows better."""
        self._found.clear()
        self._tries.clear()
        self._retry_at_s.clear()

    def due(self, now_s: float) -> set[Key]:
        """Return the objects that are worth another try."""
        return {key for key, at_s in self._retry_at_s.items() if at_s <= now_s}

    def next_retry_s(self) -> float | None:
        """Return when the next one is."""
        return min(self._retry_at_s.values(), default=None)

    def _raise(self, key: Key, troubles: tuple[Trouble, ...], now_s: float) -> None:
        if self._found.get(key) != troubles:
            self._events.emit(PROBLEM_RAISED, object=str(key), problems=[trouble.to_json() for trouble in troubles])
        self._found[key] = troubles
        tries = self._tries.get(key, 0)
        self._tries[key] = tries + 1
        self._retry_at_s[key] = now_s + min(LAST_RETRY_S, FIRST_RETRY_S * 2.0**tries)

    def _clear(self, key: Key) -> None:
        if self._found.pop(key, None) is not None:
            self._events.emit(PROBLEM_CLEARED, object=str(key))
        self._tries.pop(key, None)
        self._retry_at_s.pop(key, None)
