"""What each way to change the declared state writes, given that state. Nothing here waits or sends.

Every proposal says on what it depends (`wait`), so that it commits only if that still holds, and how to tell later
whether it was committed. It must never depend on more than that: attachments do not make applies start over.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ovenbird.controller import batches
from ovenbird.controller.records import (
    CLUSTER_UUID,
    AttachmentRecord,
    attachment_uuid,
    home_uuid,
    object_row,
    object_uuid,
)
from ovenbird.controller.state import DeclaredState, Prospect
from ovenbird.controller.unpacking import unpack_first
from ovenbird.controller.writer import Proposal
from ovenbird.model.cluster import Cluster, Role
from ovenbird.model.documents import Document
from ovenbird.model.errors import Problem, Refused, UserError
from ovenbird.model.objects import Key, Router
from ovenbird.ovsdb import Transaction
from ovenbird.plan.admission import admit, admit_delete
from ovenbird.plan.admission_routed import routed_physnets
from ovenbird.plan.change import Admission, Change
from ovenbird.plan.legs import leg_names, router_of
from ovenbird.plan.reach import why_not_on


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyOutcome:
    """What an apply or a delete did, or would do."""

    revision: int
    """Revision of the declared state that holds it."""
    changes: tuple[Change, ...]
    warnings: tuple[Problem, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return it as the API shows it."""
        return {"revision": self.revision, "changes": [change.to_json() for change in self.changes]}


def apply(
    state: DeclaredState, cluster: Cluster, documents: Sequence[Document], *, dry_run: bool, batched: bool = False
) -> Proposal[ApplyOutcome]:
    """Propose to declare these documents; `batched`: the database can take many objects in one row."""
    admission = admit(
        state.inventory,
        documents,
        physnets=cluster.physnets,
        underlay_mtu=cluster.underlay_mtu,
        revision=state.revision + 1,
        gateways=gateways_by_physnet(cluster),
        zones=cluster.gateway_zones,
        routed=routed_physnets(cluster),
    )
    return _objects(state, admission, dry_run=dry_run, comment="apply", batched=batched)


def gateways_by_physnet(cluster: Cluster) -> Counter[str]:
    """Return how many gateways the cluster's description has on each physical network."""
    return Counter(physnet for host in cluster.hosts if Role.GATEWAY in host.roles for physnet in host.physnets)


def delete(
    state: DeclaredState, keys: Sequence[Key], *, dry_run: bool, batched: bool = False
) -> Proposal[ApplyOutcome]:
    """Propose to take these objects out of what is declared."""
    admission = admit_delete(state.inventory, keys)
    ports = [key.name for key in keys if key.kind == "Port"]
    if attached := [state.attachments[port] for port in ports if port in state.attachments]:
        problems = [
            Problem(
                message=f"is attached to {each.node}",
                kind="Port",
                name=each.port,
                hint=f"`ovenbird port detach {each.port}` first",
            )
            for each in attached
        ]
        names = ", ".join(f"Port/{each.port} (on {each.node})" for each in attached)
        raise Refused(
            f"cannot be deleted while attached: {names}", code="attached", hint="detach first", problems=problems
        )
    return _objects(state, admission, dry_run=dry_run, comment="delete", batched=batched, detached=ports)


def _objects(
    state: DeclaredState,
    admission: Admission,
    *,
    dry_run: bool,
    comment: str,
    batched: bool,
    detached: Iterable[str] = (),
) -> Proposal[ApplyOutcome]:
    changes = admission.effective
    revision = state.revision + bool(changes)
    outcome = ApplyOutcome(
        revision=state.revision if dry_run else revision, changes=admission.changes, warnings=admission.warnings
    )
    if dry_run or not changes:
        return Proposal(outcome, None)
    if (first := unpack_first(state, outcome)) is not None:
        return first
    txn = Transaction(f"{comment}: revision {revision}")
    txn.wait_exists("Cluster", uuid=CLUSTER_UUID, where=[("revision", "==", state.revision)])
    for port in detached:
        txn.wait("Attachment", where=[("_uuid", "==", attachment_uuid(port))])
    if batched and len(changes) >= batches.LEAST_OBJECTS:
        _write_batches(txn, state, changes, revision)
    else:
        _write_rows(txn, state, changes)
    for leg in _lost_legs(state, changes):
        txn.delete("Home", uuid=home_uuid(leg))
    txn.update("Cluster", {"revision": revision}, uuid=CLUSTER_UUID)
    objects = {change.key: change.new for change in changes}
    prospect = Prospect(objects, admission.view, revision) if admission.view else None
    return Proposal(outcome, txn, lambda: _is_applied(state, changes, revision), rows=len(changes), prospect=prospect)


def _write_rows(txn: Transaction, state: DeclaredState, changes: Sequence[Change]) -> None:
    writing = {change.key: (change.new, object_row(change.new)) for change in changes if change.new is not None}
    for change in changes:
        uuid = object_uuid(change.key)
        if change.new is None:
            txn.delete("Object", uuid=uuid)
        elif change.old is None:
            txn.insert("Object", writing[change.key][1], uuid=uuid)
        else:
            txn.update("Object", writing[change.key][1], uuid=uuid)
    state.expect(writing)


def _write_batches(txn: Transaction, state: DeclaredState, changes: Sequence[Change], revision: int) -> None:
    packed = batches.pack(changes, revision)
    for batch in packed:
        txn.insert("Batch", batch.columns(), uuid=batch.uuid)
    state.expect({}, packed)


def _lost_legs(state: DeclaredState, changes: Sequence[Change]) -> list[str]:
    """Return the legs for which a home was asked and that go with these changes."""
    routers = {change.key.name: change.new for change in changes if change.key.kind == "Router"}
    left = {
        leg
        for name, new in routers.items()
        if new is not None and isinstance(new.spec, Router)
        for leg in leg_names(name, new.spec)
    }
    return sorted(leg for leg in state.homes if router_of(leg) in routers and leg not in left)


def _is_applied(state: DeclaredState, changes: Sequence[Change], revision: int) -> bool:
    """Whether the state shows these changes as made by this very revision, or gone by it."""
    if state.revision < revision:
        return False
    for change in changes:
        there = state.inventory.get(change.key)
        if there is change.new:
            continue  # nearly always: the state takes what was proposed for what it reads back (`DeclaredState.expect`)
        if change.new is None:
            if there is not None:
                return False
        elif there is None or (there.revision, there.spec, there.assigned) != (
            revision,
            change.new.spec,
            change.new.assigned,
        ):
            return False
    return True


def attach(
    state: DeclaredState, cluster: Cluster, port: str, node: str, spec: Mapping[str, Any]
) -> Proposal[AttachmentRecord]:
    """Propose to want a port on a node."""
    host = cluster.host(node)
    if state.inventory.get(Key("Port", port)) is None:
        raise UserError(f"Port/{port} is not declared", code="not_found", hint="apply it first")
    if host is None or not host.is_chassis:
        chassis = ", ".join(host.name for host in cluster.hosts if host.is_chassis)
        raise UserError(f"{node} is not a host that runs workloads", code="not_found", hint=f"there are: {chassis}")
    if reason := why_not_on(host, port, state.inventory):
        raise Refused(
            f"Port/{port} cannot be on {node}: {reason[0]}",
            code="unfit_host",
            subject=f"Port/{port}",
            evidence=reason[1],
            hint="choose another host, or change what cluster.yaml says of this one",
        )
    wanted = AttachmentRecord(port=port, node=node, spec=dict(spec))
    there = state.attachments.get(port)
    if there is not None:
        if (there.node, there.spec) == (node, wanted.spec):
            return Proposal(there, None)
        raise Refused(
            f"Port/{port} is attached to {there.node}" + (" in another way" if there.node == node else ""),
            code="attached",
            subject=f"Port/{port}",
            evidence=json.dumps(there.to_json()),
            hint=f"`ovenbird port detach {port}` first",
        )
    if (first := unpack_first(state, wanted, Key("Port", port))) is not None:
        return first
    txn = Transaction(f"attach {port} to {node}")
    txn.wait_exists("Object", uuid=object_uuid(Key("Port", port)))
    txn.wait("Attachment", where=[("_uuid", "==", attachment_uuid(port))])
    row = {"port": port, "node": node, "spec": json.dumps(wanted.spec, separators=(",", ":"))}
    txn.insert("Attachment", row, uuid=attachment_uuid(port))
    return Proposal(wanted, txn, lambda: _is_attached(state, wanted), rows=1)


def _is_attached(state: DeclaredState, wanted: AttachmentRecord) -> bool:
    there = state.attachments.get(wanted.port)
    return there is not None and (there.node, there.spec) == (wanted.node, wanted.spec)


def detach(state: DeclaredState, port: str) -> Proposal[None]:
    """Propose to want a port nowhere."""
    if port not in state.attachments:
        raise UserError(f"Port/{port} is not attached", code="not_found")
    txn = Transaction(f"detach {port}")
    txn.delete("Attachment", uuid=attachment_uuid(port))
    return Proposal(None, txn, lambda: port not in state.attachments, rows=1)
