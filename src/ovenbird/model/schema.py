"""JSON Schema of the documents that people write, for editors and other tools; from the same definition as the parser.

It describes one YAML document; a file may hold several. It must never say less or more than `documents.py` accepts
of one document alone: rules that JSON Schema cannot express (host bits, ranges) are only in the descriptions.
"""

from __future__ import annotations

import inspect
from typing import Any

from ovenbird.model.objects import KINDS, NAME_PATTERN, Spec

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """Return the schema (JSON Schema 2020-12), one alternative per kind, told apart by `kind`."""
    definitions: dict[str, Any] = {}
    for kind, model in KINDS.items():
        definitions[kind] = _document(kind, model, definitions)
    return {
        "$schema": DIALECT,
        "title": "Ovenbird document",
        "description": "One declared object. A file may hold several, separated by '---'.",
        "type": "object",
        "required": ["kind", "name"],
        "properties": {"kind": {"enum": list(KINDS)}},
        "oneOf": [{"$ref": f"#/$defs/{kind}"} for kind in KINDS],
        "discriminator": {"propertyName": "kind"},
        "$defs": definitions,
    }


def _document(kind: str, model: type[Spec], definitions: dict[str, Any]) -> dict[str, Any]:
    spec = model.model_json_schema(ref_template="#/$defs/{model}")
    definitions |= {name: _untitled(nested) for name, nested in spec.pop("$defs", {}).items()}
    text = inspect.getdoc(model) or ""
    return {
        "title": kind,
        "description": text,
        "type": "object",
        "additionalProperties": False,
        "required": ["kind", "name", *(["spec"] if spec.get("required") else [])],
        "properties": {
            "kind": {"const": kind, "description": text},
            "name": {"type": "string", "pattern": NAME_PATTERN, "description": f"Name, unique among {kind} objects."},
            "spec": _untitled(spec),
        },
    }


def _untitled(schema: dict[str, Any]) -> dict[str, Any]:
    """Return an object's schema without the titles that only repeat its fields' names."""
    fields = schema.get("properties", {})
    for each in fields.values():
        each.pop("title", None)
    return schema
