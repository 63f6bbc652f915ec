"""Declared objects as the API takes and shows them."""

from __future__ import annotations

import difflib
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ovenbird.api.boundary import BAD_REQUEST, NOT_FOUND
from ovenbird.controller.fitness import told_bad
from ovenbird.controller.placing import placement_in_nb
from ovenbird.controller.proposals import ApplyOutcome
from ovenbird.controller.service import ControllerService
from ovenbird.model.documents import Document, bad_input, parse_documents
from ovenbird.model.errors import Problem, UserError
from ovenbird.model.objects import KINDS, Declared, Key
from ovenbird.model.rendering import spec_to_json
from ovenbird.plan.addressing6 import addresses6_of
from ovenbird.plan.legs import legs_of


def parsed(files: Sequence[Any]) -> list[Document]:
    """Return the documents of every file; raises one UserError with the problems of all of them.

    It takes seconds for great files: call it in a thread.
    """
    documents: list[Document] = []
    problems: list[Problem] = []
    names: list[str] = []
    for each in files:
        if not isinstance(each, dict) or not isinstance(each.get("text"), str):
            raise UserError('"documents" must be a list of {"file": name, "text": text}', code=BAD_REQUEST)
        name = str(each.get("file") or "")
        try:
            documents += parse_documents(each["text"], name)
        except UserError as error:
            problems += error.problems or [Problem(message=error.message, file=name, hint=error.hint)]
            names.append(name)
    if problems:
        raise bad_input(", ".join(filter(None, names)), problems)
    return documents


def keys_of(objects: Sequence[Any]) -> list[Key]:
    """Return the keys that a request names."""
    keys = []
    for each in objects:
        if not isinstance(each, dict) or each.get("kind") not in KINDS or not isinstance(each.get("name"), str):
            raise UserError('"objects" must be a list of {"kind": known kind, "name": name}', code=BAD_REQUEST)
        keys.append(Key(each["kind"], each["name"]))
    return keys


def object_json(declared: Declared) -> dict[str, Any]:
    """Return an object as the API shows it."""
    return {
        "kind": declared.kind,
        "name": declared.name,
        "spec": spec_to_json(declared.spec),
        "assigned": {key: value for key, value in asdict(declared.assigned).items() if value},
        "revision": declared.revision,
    }


def outcome_json(outcome: ApplyOutcome) -> dict[str, Any]:
    """Return what an apply or a delete did, or would do, with its warnings."""
    return {**outcome.to_json(), "warnings": [asdict(problem) for problem in outcome.warnings]}


def described(service: ControllerService, key: Key) -> dict[str, Any]:
    """Return an object with everything known about it; raises UserError `not_found`."""
    inventory = service.store.inventory
    declared = inventory.get(key)
    if declared is None:
        raise UserError(
            f"{key} does not exist",
            code=NOT_FOUND,
            subject=str(key),
            hint=near(inventory.of_kind(key.kind), key),
        )
    rows = service.nb.index.rows_of(key) if service.nb.synced else ()
    return {
        **object_json(declared),
        "realised": _realised(service, declared),
        "problems": [trouble.to_json() for trouble in service.problems.get(key, ())],
        **({"addresses6": found} if (found := addresses6_of(declared, inventory)) else {}),
        **(_gateways(service, key) if key.kind == "Router" else {}),
        "used_by": sorted(str(user) for user in inventory.users(key)),
        "rows": [{"table": row.table, "uuid": row.uuid, "columns": _plain(row.columns)} for row in rows],
    }


def _gateways(service: ControllerService, key: Key) -> dict[str, Any]:
    """Return a router's legs: who carries each, its gateways in NB, most wanted first, and why one is unfit."""
    declared = service.store.inventory.get(key)
    why = told_bad(service.cluster, service.store.state.nodes, time.time())
    # A hold-down is known to the acting controller only.
    why |= {name: verdict.why for (name, _), verdict in service.fitness.verdicts.items() if verdict.why}
    placement = placement_in_nb(service.store.inventory, service.nb.index)
    carriers = service.gateways.carriers()
    legs = [
        {
            "name": leg.name,
            "address": leg.address,
            "active": carriers.get(leg.name),
            "home": placement.home(leg.name),
            "gateways": [
                {"chassis": name, "priority": priority, "unfit": why.get(name, "")}
                for name, priority in placement.routers.get(leg.name, ())
            ],
        }
        for leg in (legs_of(declared) if declared is not None else ())
    ]
    return {"legs": legs}


def _realised(service: ControllerService, declared: Declared) -> dict[str, Any]:
    """Return whether NB holds the object as declared; None is not known. For chassis, there is `wait`."""
    control = service.nb.control
    if control is None:
        return {"nb": None, "detail": "NB cannot be read"}
    if control.revision < declared.revision:
        return {"nb": False, "detail": f"NB holds revision {control.revision}, not yet {declared.revision}"}
    return {"nb": not service.problems.get(declared.key), "detail": f"NB holds revision {control.revision}"}


def near(named: Mapping[str, Declared], key: Key) -> str:
    """Return a hint for a name that does not exist."""
    found = difflib.get_close_matches(key.name, named, n=1)
    return f'did you mean "{found[0]}"?' if found else f"see `ovenbird get {key.kind.lower()}`"


def _plain(value: Any) -> Any:
    """Return a value of OVSDB as JSON has it: sets as sorted lists."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, frozenset | set):
        return sorted((_plain(item) for item in value), key=str)
    return value
