"""Rows of the Ovenbird database as typed values, and back.

Pure, so that what is stored can be read by whoever has the row. A row that cannot be read is an error of that row
alone: it must never stop the reading of others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ovenbird.model.objects import KINDS, Assigned, Declared, Key
from ovenbird.plan.failback import Cause
from ovenbird.plan.outage_estimate import NO_ESTIMATE, Estimate, read
from ovenbird.plan.rows import row_uuid

_ASSIGNED = TypeAdapter(Assigned)
CLUSTER_UUID = row_uuid("Cluster", "")


class UnreadableRow(Exception):
    """A stored object that this version cannot read (a newer one may have written it)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterRecord:
    """The singleton."""

    name: str
    revision: int
    epoch: int
    holder: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRecord:
    """What a host's agent says about its host."""

    name: str
    address: str = ""
    roles: frozenset[str] = frozenset()
    physnets: frozenset[str] = frozenset()
    boot_id: str = ""
    heartbeat_s: int = 0
    """Unix seconds by that host's clock."""
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachmentRecord:
    """A workload port wanted on a node, and what that node's agent says about it."""

    port: str
    node: str
    spec: Mapping[str, Any] = field(default_factory=dict)
    status: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return it as the API shows it."""
        return {"port": self.port, "node": self.node, "spec": dict(self.spec), "status": dict(self.status)}


@dataclass(frozen=True, slots=True, kw_only=True)
class HomeRecord:
    """The home gateway that an operator asked for."""

    router: str
    gateway: str
    cause: Cause
    request: int
    """Grows with each request for this router: one is carried out once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayChangeRecord:
    """A change of the gateway that carries a router, as it was seen."""

    at_ms: int
    """Unix milliseconds at which the acting controller saw it in SB."""
    router: str
    before: str
    """"" when none carried it, as far as is known."""
    after: str
    cause: str
    estimate: Estimate = NO_ESTIMATE
    """How long it was felt; filled in later."""

    def to_json(self, *, pinned: bool = False) -> dict[str, Any]:
        """Return it as the API shows it. `pinned`: the leg is a gateway router, which OVN never moves."""
        by = _DECIDED_BY.get(self.cause, "controller" if pinned else "ovn")
        return {
            "at_ms": self.at_ms,
            "router": self.router,
            "from": self.before,
            "to": self.after,
            "cause": self.cause,
            "decided_by": by,
            **self.estimate.to_json(),
        }


_DECIDED_BY = {
    "unfit": "controller",
    "partition": "controller",
    "unpaired": "controller",
    "failback": "controller",
    "placed": "controller",
    "drain": "operator",
    "move": "operator",
    "rebalance": "operator",
}
"""Cause -> who decided; what is not here OVN did by itself."""


def gateway_uuid(name: str) -> str:
    """Return the UUID of a gateway's row."""
    return row_uuid("Gateway", name)


def home_uuid(router: str) -> str:
    """Return the UUID of the row of a router's home."""
    return row_uuid("Home", router)


@dataclass(frozen=True, slots=True)
class HandoverRecord:
    """What an agent says of a request to wait."""

    held: bool
    """Its ovn-controller waits."""
    silent: bool
    """It tells nobody outside any more of what it is about to lose."""


def handover_uuid(gateway: str, request: int) -> str:
    """Return the UUID of the row that asks a gateway to go on forwarding."""
    return row_uuid("Handover", f"{gateway} {request}")


def gateway_change_uuid(change: GatewayChangeRecord) -> str:
    """Return the UUID of the row of a change."""
    return row_uuid("GatewayChange", f"{change.at_ms} {change.router}")


def object_uuid(key: Key) -> str:
    """Return the UUID of an object's row."""
    return row_uuid("Object", str(key))


def attachment_uuid(port: str) -> str:
    """Return the UUID of a port's attachment row."""
    return row_uuid("Attachment", port)


def object_row(declared: Declared) -> dict[str, Any]:
    """Return the columns that store an object."""
    return {
        "kind": declared.kind,
        "name": declared.name,
        "spec": declared.spec.model_dump_json(exclude_none=True),
        "assigned": _ASSIGNED.dump_json(declared.assigned).decode(),
        "revision": declared.revision,
    }


def read_object(row: Mapping[str, Any]) -> Declared:
    """Return the stored object; UnreadableRow says what is wrong with it."""
    kind, name = row["kind"], row["name"]
    if kind not in KINDS:
        raise UnreadableRow(f"unknown kind {kind}")
    try:
        spec = KINDS[kind].model_validate_json(row["spec"])
        assigned = _read_assigned(json.loads(row["assigned"] or "{}"))
    except (ValidationError, ValueError, TypeError) as error:
        raise UnreadableRow(str(error)) from error
    return Declared(kind=kind, name=name, spec=spec, assigned=assigned, revision=row["revision"])


def _read_assigned(stored: dict[str, Any]) -> Assigned:
    """Return what was assigned. Not by the type adapter: it is read for each of many thousand objects."""
    others = stored.pop("others", ())
    return Assigned(**stored, others=tuple(others))


def read_cluster(row: Mapping[str, Any]) -> ClusterRecord:
    """Return the singleton."""
    return ClusterRecord(name=row["name"], revision=row["revision"], epoch=row["epoch"], holder=row["holder"])


def read_node(row: Mapping[str, Any]) -> NodeRecord:
    """Return a host's record; facts that are not a JSON object read as none."""
    return NodeRecord(
        name=row["name"],
        address=row["address"],
        roles=row["roles"],
        physnets=row["physnets"],
        boot_id=row["boot_id"],
        heartbeat_s=row["heartbeat_s"],
        facts=_json_object(row["facts"]),
    )


def read_attachment(row: Mapping[str, Any]) -> AttachmentRecord:
    """Return an attachment; what is not a JSON object reads as none."""
    return AttachmentRecord(
        port=row["port"], node=row["node"], spec=_json_object(row["spec"]), status=_json_object(row["status"])
    )


def read_home(row: Mapping[str, Any]) -> HomeRecord:
    """Return a router's home; an unknown cause reads as a move."""
    cause = Cause(row["cause"]) if row["cause"] in {each.value for each in Cause} else Cause.MOVE
    return HomeRecord(router=row["router"], gateway=row["gateway"], cause=cause, request=row["request"])


def read_handover(row: Mapping[str, Any]) -> HandoverRecord:
    """Return what an agent says of a request; a database of an older version has no column for silence."""
    return HandoverRecord(held=row["held"], silent="silent" in row and row["silent"])


def read_gateway_change(row: Mapping[str, Any]) -> GatewayChangeRecord:
    """Return a change of an active gateway."""
    return GatewayChangeRecord(
        at_ms=row["at_ms"],
        router=row["router"],
        before=row["before"],
        after=row["after"],
        cause=row["cause"],
        # A database that an older version has made lacks the column.
        estimate=read(_json_object(row.get("estimate", ""))),
    )


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
