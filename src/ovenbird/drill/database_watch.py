"""Watches every member of the databases, and tells as one history what they show: roles, epochs, gateways' claims.

Members are watched one by one and their tales merged (`merged.py`), so that the loss of any of them hides nothing and
a late one invents nothing. This is an observer: it must never write.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from ovenbird.drill.member_watch import MemberPlace, MemberWatch
from ovenbird.drill.merged import MergedHistory
from ovenbird.drill.record import EPOCH_CHANGED, GATEWAY_CLAIMED, ROLE_CHANGED, Event
from ovenbird.lab.lab import Lab
from ovenbird.lab.node import Node
from ovenbird.model.cluster import Database, Role
from ovenbird.model.layout import Layout
from ovenbird.plan.election import CONTROL_NAME, EPOCH, HOLDER, REVISION

TABLES: dict[Database, dict[str, tuple[str, ...]]] = {
    Database.NB: {"Address_Set": ("name", "external_ids")},
    Database.SB: {"Chassis": ("name",), "Port_Binding": ("logical_port", "type", "chassis")},
    Database.OVENBIRD: {},
}


class DatabaseWatch:
    """All members of all databases. `watches` are what to run; `tell` is called with each event."""

    def __init__(self, places: Sequence[MemberPlace], tell: Callable[[Event], None]) -> None:
        self._report = tell
        # Epochs and revisions only grow: a state seen before is an old one, told late.
        self._epochs: MergedHistory[tuple[int, str, int]] = MergedHistory(recurs=False)
        self._claims: dict[str, MergedHistory[str]] = {}
        on_rows = {Database.NB: self._nb_changed, Database.SB: self._sb_changed}
        self._members = [
            MemberWatch(
                place,
                tables=TABLES[place.database],
                on_standing=self._standing_changed,
                on_lost=self._lost,
                on_rows=on_rows.get(place.database, lambda _member, _first: None),
            )
            for place in places
        ]

    @property
    def watches(self) -> Mapping[str, Callable[[], Awaitable[None]]]:
        """By name, what must be run for as long as one watches."""
        return {member.place.name: member.run for member in self._members}

    def _tell(self, kind: str, subject: str, what: str, data: dict[str, Any]) -> None:
        self._report(Event(at_ns=time.time_ns(), kind=kind, subject=subject, what=what, data=data))

    def _lost(self, member: MemberWatch) -> None:
        self._epochs.lost(member.place.name)
        for history in self._claims.values():
            history.lost(member.place.name)

    def _standing_changed(self, member: MemberWatch) -> None:
        standing, place = member.standing, member.place
        data = {
            "database": place.database.short,
            "node": place.node,
            "role": standing.role,
            "term": standing.term,
            "sid": standing.sid,
            "cid": standing.cid,
        }
        term = f" in term {standing.term}" if standing.term else ""
        self._tell(ROLE_CHANGED, member.place.name, f"{member.place.name} is {standing.role}{term}", data)

    def _nb_changed(self, member: MemberWatch, first: bool) -> None:
        for row in member.rows.get("Address_Set", {}).values():
            if row.get("name") != CONTROL_NAME:
                continue
            ids = dict(row["external_ids"][1])
            state = (_number(ids.get(EPOCH)), str(ids.get(HOLDER, "")), _number(ids.get(REVISION)))
            if self._epochs.heard(member.place.name, state, first=first):
                data = {"epoch": state[0], "holder": state[1], "revision": state[2], "member": member.place.name}
                what = f"{state[1]} has written revision {state[2]} to NB in epoch {state[0]}"
                self._tell(EPOCH_CHANGED, CONTROL_NAME, what, data)

    def _sb_changed(self, member: MemberWatch, first: bool) -> None:
        names = {uuid: str(row["name"]) for uuid, row in member.rows.get("Chassis", {}).items()}
        for row in member.rows.get("Port_Binding", {}).values():
            if row["type"] != "chassisredirect":
                continue
            port, chassis = str(row["logical_port"]), names.get(_reference(row["chassis"]), "")
            history = self._claims.setdefault(port, MergedHistory(recurs=True))
            if history.heard(member.place.name, chassis, first=first):
                what = f"{chassis} has claimed {port}" if chassis else f"{port} is on no chassis"
                self._tell(GATEWAY_CLAIMED, port, what, {"chassis": chassis})


def lab_members(lab: Lab) -> list[MemberPlace]:
    """Return every member of a lab's databases, reached through its host's own sockets."""
    centrals = [node for node in lab.nodes.values() if node.spec and Role.CENTRAL in node.spec.roles]
    return [_place(database, node) for database in Database for node in centrals]


def _place(database: Database, node: Node) -> MemberPlace:
    stem = Layout().database_run(database)
    return MemberPlace(
        database=database,
        node=node.name,
        remote=lambda: f"unix:{node.path(f'{stem}.sock')}",
        control=lambda: str(node.path(f"{stem}.ctl")),
    )


def _number(text: str | None) -> int:
    return int(text) if text and text.isdigit() else 0


def _reference(wire: Any) -> str:
    return str(wire[1]) if isinstance(wire, list) and wire[0] == "uuid" else ""
