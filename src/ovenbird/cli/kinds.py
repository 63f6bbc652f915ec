"""Names of kinds as people type them: any case, plurals and short forms. Kept apart from the model to stay light."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from ovenbird.model.errors import UserError

F = TypeVar("F", bound=Callable[..., Any])

ALIASES: dict[str, tuple[str, ...]] = {
    "ExternalNetwork": ("extnet", "external"),
    "Network": ("net",),
    "Router": (),
    "Port": (),
    "FloatingIP": ("fip",),
    "LoadBalancer": ("lb",),
}
"""Kind -> short forms. Tests hold the kinds equal to those of the model."""


def _spellings() -> dict[str, str]:
    words: dict[str, str] = {}
    for kind, short_forms in ALIASES.items():
        for word in (kind.lower(), *short_forms):
            words[word] = words[f"{word}s"] = kind
    return words


SPELLINGS = _spellings()
"""Every accepted spelling (lower case) -> kind."""


def kind_of(text: str) -> str:
    """Return the kind that is meant; raises UserError with a near spelling."""
    if kind := SPELLINGS.get(text.lower()):
        return kind
    import difflib

    near = difflib.get_close_matches(text.lower(), SPELLINGS, n=1)
    hint = f'did you mean "{near[0]}"?' if near else f"kinds are {', '.join(ALIASES)}"
    raise UserError(f'unknown kind "{text}"', code="unknown_kind", hint=hint)


def kind_argument(*, required: bool) -> Callable[[F], F]:
    """Give a verb the argument KIND, passed as `kind`; shells complete it."""
    return click.argument("kind", required=required, callback=_convert, shell_complete=_complete)


def _convert(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    return kind_of(value) if value else None


def _complete(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    return [word for word in (kind.lower() for kind in ALIASES) if word.startswith(incomplete.lower())]
