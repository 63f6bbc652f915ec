"""Field errors in words for people: what is wrong, where, and what was probably meant.

Takes a pydantic error and the located YAML that it is about. Runs only when something is wrong, so it may be slow.
It must never show a word of pydantic's.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from ovenbird.model.located_yaml import Path

NAME_RULE = "1 to 63 characters: a-z, 0-9, '-' and '.', starting and ending with a letter or digit"

Explained = tuple[Path, str, str]
"""Path of the field inside what was validated, message, hint."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return "did you mean 'x'?" for the nearest known word, else the known words, else ""."""
    by_lower = {each.lower(): each for each in known}
    near = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    if near:
        return f"did you mean {by_lower[near[0]]!r}?"
    words = sorted(by_lower.values())
    shown = ", ".join(words[:8]) + (f" and {len(words) - 8} more" if len(words) > 8 else "")
    return f"known: {shown}" if words else ""


def explain(error: ValidationError, model: type[BaseModel]) -> list[Explained]:
    """Return every error of a validation in words for people."""
    return [_explain(each["type"], tuple(each["loc"]), each["input"], each.get("ctx", {}), model)
            for each in error.errors(include_url=False)]  # fmt: skip


def _explain(kind: str, path: Path, value: Any, context: Mapping[str, Any], model: type[BaseModel]) -> Explained:
    field = field_text(path)
    match kind:
        case "missing":
            return path, f"{field} is missing", _description(model, path)
        case "extra_forbidden":
            return path, f"unknown field {str(path[-1])!r}", did_you_mean(str(path[-1]), fields_at(model, path[:-1]))
        case "string_pattern_mismatch":
            return path, f"{field}: {value!r} is not a valid name", name_hint(value)
        case "literal_error":
            return path, f"{field} must be {context['expected']}, not {_shown(value)}", ""
        case "greater_than_equal" | "less_than_equal":
            bound = f"at least {context['ge']}" if "ge" in context else f"at most {context['le']}"
            return path, f"{field} must be {bound}, not {value}", ""
        case "value_error":
            return path, f"{field}: {context['error']}" if path else str(context["error"]), ""
    wanted, hint = _WANTED.get(kind, ("something else", ""))
    if kind == "string_type" and isinstance(value, int | float):
        hint = f'put it in quotes: "{str(value).lower()}"'
    if (kind == "int_type" and _is_number(value)) or (kind == "bool_type" and value in ("true", "false")):
        hint = f"write it without quotes: {value}"
    return path, f"{field} must be {wanted}, not {_shown(value)}", hint


_WANTED = {
    "string_type": ("text", ""),
    "int_type": ("a whole number", ""),
    "int_from_float": ("a whole number", ""),
    "bool_type": ("true or false", ""),
    "too_short": ("a list with at least one item", ""),
    "tuple_type": ("a list", "write [a, b], or one item a line, each after '- '"),
    "model_type": ("a mapping of fields", "write {field: value}, or one field a line, indented"),
    "model_attributes_type": ("a mapping of fields", "write {field: value}, or one field a line, indented"),
    "dict_type": ("a mapping", "write {name: value}, or one a line, indented"),
}


def _is_number(value: Any) -> bool:
    return isinstance(value, str) and value.isascii() and value.isdigit()


def field_text(path: Path) -> str:
    """Return a path as people write it: 'routes[0].via', quoted."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return repr(text.removeprefix("."))


def _shown(value: Any) -> str:
    """Return a wrong value with its type, cut short."""
    if value is None:
        return "empty"
    if isinstance(value, tuple | list):
        return "a list" if value else "an empty list"
    if isinstance(value, dict):
        return "a mapping"
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def name_hint(name: str) -> str:
    """Return what to do about an invalid name: a valid one like it if there is one, and the rule."""
    fixed = re.sub(r"[^a-z0-9.-]+", "-", name.lower()).strip("-.")[:63]
    return f"perhaps {fixed!r}; {NAME_RULE}" if fixed else NAME_RULE


def fields_at(model: type[BaseModel], path: Path) -> list[str]:
    """Return the fields of the model found by following a path of fields and positions."""
    found = _model_at(model, path)
    return list(found.model_fields) if found else []


def _description(model: type[BaseModel], path: Path) -> str:
    found = _model_at(model, path[:-1])
    field = found.model_fields.get(str(path[-1])) if found else None
    return (field.description or "").split("\n")[0].rstrip(".") if field else ""


def _model_at(model: type[BaseModel], path: Path) -> type[BaseModel] | None:
    found: type[BaseModel] | None = model
    for part in path:
        if isinstance(part, str) and found:
            field = found.model_fields.get(part)
            found = _model_in(field.annotation) if field else None
    return found


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    arguments = getattr(annotation, "__args__", ())
    return next((model for each in arguments if (model := _model_in(each))), None)
