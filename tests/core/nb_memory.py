"""An NB of plain dicts that obeys the server's rules that matter to plans, to execute plans in core tests.

Rules kept (RFC 7047): rows of non-root tables live only while a set holds them; a strong reference to a missing row
refuses the transaction; weak ones are dropped; indexed names are unique; a UUID is inserted once.
"""

from __future__ import annotations

import contextlib
from typing import Any

from ovenbird.plan.nb_index import NbIndex
from ovenbird.plan.nb_view import CHILD_SETS, MEMBER_SETS, REFERENCES, STANDING, STRONG, TABLES, WATCHED_COLUMNS
from ovenbird.plan.rows import Delete, Insert, Mutate, Plan, Update

MAPS = {"external_ids", "options", "vips"}
SETS = {"addresses", "port_security", "networks", "ports", "nat", "static_routes", "ha_chassis"}
SETS |= {"load_balancer", "load_balancer_group", "selection_fields", "policies", "nexthops"}
OPTIONAL = {
    "tag",
    "tag_request",
    "dhcpv4_options",
    "ha_chassis_group",
    "output_port",
    "policy",
    "external_mac",
    "logical_port",
    "protocol",
}


def default(column: str) -> Any:
    if column in MAPS:
        return {}
    if column in SETS:
        return frozenset()
    return None if column in OPTIONAL else ""


class Refused(Exception):
    """The server would refuse the transaction."""


class NbMemory:
    def __init__(self) -> None:
        self.rows: dict[str, dict[str, dict[str, Any]]] = {table: {} for table in TABLES}
        self.index = NbIndex()

    def insert(self, table: str, uuid: str, **columns: Any) -> None:
        """Insert a row as someone else would."""
        self.execute(Plan((Insert(table, uuid, columns),)))

    def execute(self, plan: Plan) -> set[Any]:
        """Commit a plan; returns the owners that the index says to look at."""
        rows = {table: dict(content) for table, content in self.rows.items()}
        for step in plan.steps:
            self._step(rows, step)
        self._check_strong(rows)  # before rows are collected, as the server does
        self._collect(rows)
        self._check(rows)
        return self._commit(rows)

    def attempt(self, plan: Plan) -> None:
        """Commit a plan unless the server would refuse it."""
        with contextlib.suppress(Refused):
            self.execute(plan)

    def _step(self, rows: dict[str, dict[str, dict[str, Any]]], step: Any) -> None:
        table = rows[step.table]
        match step:
            case Insert():
                if step.uuid in table:
                    raise Refused(f"duplicate uuid {step.uuid}")
                blank = {column: default(column) for column in WATCHED_COLUMNS[step.table]}
                assert step.columns.keys() <= blank.keys(), "WATCHED_COLUMNS lacks a column that compile writes"
                table[step.uuid] = {**blank, **step.columns}
            case Update():
                if step.uuid in table:
                    table[step.uuid] = {**table[step.uuid], **step.columns}
            case Mutate():
                if step.uuid in table:
                    members = (table[step.uuid][step.column] | step.insert) - step.delete
                    table[step.uuid] = {**table[step.uuid], step.column: members}
            case Delete():
                table.pop(step.uuid, None)

    def _collect(self, rows: dict[str, dict[str, dict[str, Any]]]) -> None:
        for parent, sets in CHILD_SETS.items():
            for column, child in sets.items():
                if child in STANDING:
                    self._drop_weak(rows, parent, column, child)
                    continue
                held = {uuid for row in rows[parent].values() for uuid in row[column]}
                if missing := held - rows[child].keys():
                    raise Refused(f"{parent}.{column} refers to missing {sorted(missing)}")
                rows[child] = {uuid: row for uuid, row in rows[child].items() if uuid in held}

    def _drop_weak(self, rows: dict[str, dict[str, dict[str, Any]]], parent: str, column: str, child: str) -> None:
        for uuid, row in list(rows[parent].items()):
            if row[column] - rows[child].keys():
                rows[parent][uuid] = {**row, column: row[column] & rows[child].keys()}

    def _check_strong(self, rows: dict[str, dict[str, dict[str, Any]]]) -> None:
        for table, columns in REFERENCES.items():
            for column in STRONG.intersection(columns):
                for row in rows[table].values():
                    if row[column] and row[column] not in rows[columns[column]]:
                        raise Refused(f"{table}.{column} refers to missing {row[column]}")
        for table, members in MEMBER_SETS.items():
            for column, target in members.items():
                for row in rows[table].values():
                    if missing := row[column] - rows[target].keys():
                        raise Refused(f"{table}.{column} refers to missing {sorted(missing)}")

    def _check(self, rows: dict[str, dict[str, dict[str, Any]]]) -> None:
        for table, columns in REFERENCES.items():
            for column, target in columns.items():
                for uuid, row in list(rows[table].items()):
                    if row[column] and row[column] not in rows[target]:
                        rows[table][uuid] = {**row, column: None}
        for table in ("Logical_Switch_Port", "Logical_Router_Port", "HA_Chassis_Group", "Load_Balancer_Group"):
            names = [row["name"] for row in rows[table].values()]
            if len(names) != len(set(names)):
                raise Refused(f"duplicate name in {table}")

    def _commit(self, rows: dict[str, dict[str, dict[str, Any]]]) -> set[Any]:
        touched: set[Any] = set()
        for table in TABLES:
            for uuid in self.rows[table].keys() | rows[table].keys():
                new = rows[table].get(uuid)
                if new is not self.rows[table].get(uuid):
                    touched |= self.index.apply(table, uuid, new)
        self.rows = rows
        return touched
