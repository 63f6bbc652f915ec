"""The problems that admission finds, each laid at the door of the document that brought it about.

A rule names the objects that together break it, the most likely culprit first; the problem goes to the first of them
that this call changes, at the line of the field. It must never decide what is a problem: see `admission_objects.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple

from ovenbird.model.documents import Document
from ovenbird.model.errors import Problem
from ovenbird.model.explain import did_you_mean
from ovenbird.model.objects import Key
from ovenbird.plan.inventory import InventoryView

_SUGGESTIONS = 20
"""Missing references that get a suggestion; a search through all names for each of thousands helps nobody."""


class Place(NamedTuple):
    """A field of an object's spec; an empty path is the object itself."""

    key: Key
    path: tuple[str | int, ...] = ()


class Findings:
    """Problems and warnings of one call."""

    def __init__(self, view: InventoryView, changing: Mapping[Key, Document]) -> None:
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self._view = view
        self._changing = changing
        self._order = {key: at for at, key in enumerate(changing)}
        self._seen: set[tuple[object, ...]] = set()
        self._suggestions = 0
        self._suggest: Callable[[Key], str] = lru_cache(maxsize=None)(self._nearest)

    def problem(self, message: str, *places: Place, hint: str = "") -> None:
        """Record a problem; its subject is the first place's object."""
        self.problems.append(self._at(message, places, hint))

    def warn(self, message: str, *places: Place, hint: str = "") -> None:
        """Record something that is accepted, but probably not meant."""
        self.warnings.append(self._at(message, places, hint))

    def _at(self, message: str, places: tuple[Place, ...], hint: str) -> Problem:
        subject = places[0].key
        for key, path in places:
            if document := self._changing.get(key):
                return document.problem(message if key == subject else f"{subject}: {message}", *path, hint=hint)
        return Problem(message=message, kind=subject.kind, name=subject.name, hint=hint)

    def missing(self, wanted: Key, place: Place) -> None:
        """Record a reference to an object that neither exists nor is declared in the same call."""
        self._suggestions += 1
        hint = self._suggest(wanted) if self._suggestions <= _SUGGESTIONS else ""
        self.problem(f"{wanted} does not exist", place, hint=hint)

    def _nearest(self, wanted: Key) -> str:
        return did_you_mean(wanted.name, self._view.of_kind(wanted.kind)) or f"no {wanted.kind} is declared"

    def first_of(self, keys: Iterable[Key]) -> Key:
        """Return which of several claimants was there first: what exists, then networks, then the file's order."""
        return min(keys, key=self._rank)

    def blamed_first(self, *places: Place) -> tuple[Place, ...]:
        """Return places with the one that came last first."""
        return tuple(sorted(places, key=lambda place: self._rank(place.key), reverse=True))

    def _rank(self, key: Key) -> tuple[int, int, Key]:
        at = self._order.get(key)
        if at is None:
            return 0, 0, key
        return (1 if key.kind in ("Network", "ExternalNetwork") else 2), at, key

    def once(self, *identity: object) -> bool:
        """Whether this is the first call with that identity: for rules that are met from both sides."""
        if identity in self._seen:
            return False
        self._seen.add(identity)
        return True

    def line_note(self, key: Key) -> str:
        """Return " (line 12)" for an object that this call changes, else ""."""
        document = self._changing.get(key)
        return f" (line {document.line})" if document and document.line else ""
