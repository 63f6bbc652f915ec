"""HTML and SVG as escaped text.

Everything that is put into a page passes through here, so nothing of a record can become markup. Characters that
neither HTML nor XML may hold are replaced. Output depends on the input alone. This module must never know what is on
the page.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape

FORBIDDEN = re.compile("[^\t\n\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
VOID = frozenset({"meta", "path", "rect", "line", "circle"})


class Markup(str):
    """Text that is markup already; any other string is escaped."""

    __slots__ = ()


Child = str | Iterable[str]


def tag(name: str, /, *children: Child, **attributes: str | float | None) -> Markup:
    """Return one element.

    An underscore at the end of an attribute's name is dropped, others become hyphens; an attribute that is None is left
    out. Children are strings, `Markup`, or iterables of these.
    """
    shown = "".join(
        f' {_attribute(key)}="{_escaped(number(value) if isinstance(value, int | float) else value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in VOID and not children:
        return Markup(f"<{name}{shown}/>")
    return Markup(f"<{name}{shown}>{join(children)}</{name}>")


def join(children: Iterable[Child], separator: str = "") -> Markup:
    """Return children one after the other, escaping what is not markup."""
    return Markup(separator.join(_text(child) for child in children))


def number(value: float) -> str:
    """Return a number as briefly as one decimal allows: the same for every machine."""
    text = f"{value:.1f}"
    return text[:-2] if text.endswith(".0") else text


def _attribute(key: str) -> str:
    return key.rstrip("_").replace("_", "-")


def _escaped(text: str) -> str:
    return escape(FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text))


def _text(child: Child) -> str:
    if isinstance(child, Markup):
        return child
    if isinstance(child, str):
        return _escaped(child)
    return join(child)
