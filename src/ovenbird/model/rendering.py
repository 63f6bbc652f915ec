"""Declared objects back to the YAML that people write: what `get -o yaml` prints can be applied again.

It must never print what admission assigned: an object that asked for nothing still asks for nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import yaml

from ovenbird.model.located_yaml import NUMBER
from ovenbird.model.objects import Spec


class _Dumper(yaml.CSafeDumper):
    """Also puts text in quotes that our reader alone takes for a number: the library writes YAML 1.1."""


_Dumper.add_implicit_resolver("tag:yaml.org,2002:int", NUMBER, list("0123456789+-."))


def spec_to_json(spec: Spec) -> dict[str, Any]:
    """Return a spec as JSON values, without fields at their default."""
    return spec.model_dump(mode="json", exclude_defaults=True)


class Named(Protocol):
    """What documents and declared objects have in common."""

    @property
    def kind(self) -> str: ...  # noqa: D102
    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def spec(self) -> Spec: ...  # noqa: D102


def render_documents(objects: Iterable[Named]) -> str:
    """Return multi-document YAML that `parse_documents` reads back to the same specs."""
    documents: list[dict[str, Any]] = [
        {"kind": each.kind, "name": each.name, "spec": spec_to_json(each.spec)} for each in objects
    ]
    return yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, explicit_start=len(documents) > 1)
