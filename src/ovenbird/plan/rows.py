"""The language between compile, diff and the executor: rows that should exist in NB, and the steps to get there.

Every row that Ovenbird makes has a UUID that follows from its identity (`row_uuid`), so that references need no
look-up, a transaction that is sent twice is harmless, and who owns a row can be told without asking.
Values are plain Python: str, int, bool, float; a UUID is a str; a set is a frozenset; a map is a dict; an optional
value is the value or None. The executor encodes them by the server's own schema.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from ovenbird.model.objects import Key

Columns = Mapping[str, Any]

OWNER = "ovenbird-owner"
"""external_ids key on every row of ours: "Kind/name" of the declared object that the row exists for."""
HOME = "ovenbird-home"
"""external_ids key of a router's HA_Chassis_Group: the gateway that should carry it when all are good."""
HOME_REQUEST = "ovenbird-home-request"
"""external_ids key beside it: number of the operator's request that was carried out last."""
ANNOUNCED6 = "ovenbird-announced6"
"""external_ids key of a switch's port to a router, copied to SB: "MAC ADDRESS...", the IPv6 addresses that the router's
active gateway answers for. OVN names only the IPv4 ones there (ovn-sb(5), Port_Binding.nat_addresses)."""
PREEMPTS = "ovenbird-preempts"
"""external_ids key of a switch's port to a router, copied to SB: "true" if its home gateway is to take it at once."""
APART = "ovenbird-apart"
"""external_ids key of the group of a watch port: which pairs of gateways are apart, and why; "; " between them."""
VACANT = "ovenbird-vacant"
"""Chassis name of a member that is nobody and stands for a gateway which was taken out. A group of one would have no
BFD at all, and its sessions would have to come up anew, with an outage, when the second member is back."""
NAMESPACE = uuid.UUID("6f76656e-6269-7264-8000-4e4220726f77")


_NAMED = hashlib.sha1(NAMESPACE.bytes, usedforsecurity=False)


def row_uuid(table: str, identity: str) -> str:
    """Return the UUID of our row of that identity; the same on every node and every time.

    It is `uuid.uuid5(NAMESPACE, "table:identity")` (RFC 4122 section 4.3), put together by hand: four times as fast.
    """
    digest = _NAMED.copy()
    digest.update(f"{table}:{identity}".encode())
    text = digest.hexdigest()
    variant = "89ab"[int(text[16], 16) & 3]
    return f"{text[:8]}-{text[8:12]}-5{text[13:16]}-{variant}{text[17:20]}-{text[20:32]}"


@dataclass(frozen=True, slots=True)
class Parent:
    """The row and column whose set holds another row."""

    table: str
    uuid: str
    column: str


@dataclass(frozen=True, slots=True)
class NbRow:
    """A NB row that should exist. `columns` are the only columns that we own in it."""

    table: str
    uuid: str
    columns: Columns
    owner: Key
    parent: Parent | None = None
    """None for rows that stand by themselves."""
    members: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Set columns in which only these members are ours: others may put theirs beside them."""


@dataclass(frozen=True, slots=True)
class Insert:
    """Insert a row with its own UUID; `columns` already holds its children's sets where they are new as well."""

    table: str
    uuid: str
    columns: Columns
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Update:
    """Set columns of a row."""

    table: str
    uuid: str
    columns: Columns
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Mutate:
    """Add and remove members of one set column of a row; foreign members are not touched."""

    table: str
    uuid: str
    column: str
    insert: frozenset[str] = frozenset()
    delete: frozenset[str] = frozenset()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete a root row of ours."""

    table: str
    uuid: str
    reason: str = ""


Step = Insert | Update | Mutate | Delete


class ConflictKind(Enum):
    """Why a row cannot be made, changed or removed as it should."""

    NAME_TAKEN = "name_taken"
    """Another row has the name, and NB or northd wants it unique."""
    MISSING_ROW = "missing_row"
    """The parent, or a row that this row refers to, is neither there nor made by this plan."""
    FOREIGN_CHILDREN = "foreign_children"
    """The row should go, but holds rows that are not ours and would go with it."""
    FOREIGN_HOLDER = "foreign_holder"
    """Our row hangs under, or is referred to by, a row that is not ours."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """A difference that a plan leaves alone, because mending it would touch rows that are not ours or fail."""

    kind: ConflictKind
    owner: Key
    table: str
    uuid: str
    detail: str
    """For people: the row, and the rows in its way."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps of one transaction, in order, and what had to be left alone. A plan without steps has nothing to do."""

    steps: tuple[Step, ...] = ()
    conflicts: tuple[Conflict, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.steps)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """A host that may carry routers' external legs."""

    name: str
    physnets: frozenset[str]
    zone: str = ""
    """Gateways of one zone may fail together; "" is none."""
    weight: int = 1
    """How many routers it should carry, compared with the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Which gateways carry which router, most wanted first, with OVN priorities (greater wins)."""

    routers: Mapping[str, tuple[tuple[str, int], ...]] = field(default_factory=dict)
    """router -> ((gateway, priority), ...)"""
    homes: Mapping[str, str] = field(default_factory=dict)
    """router -> the gateway that should carry it when all are good; one that is not here has its first gateway."""

    requests: Mapping[str, int] = field(default_factory=dict)
    """router -> number of the latest operator's request for a home that was carried out; 0 when there was none."""

    vacant: frozenset[str] = frozenset()
    """Routers with a single gateway left because the others were taken out: the group has a member `VACANT` beside."""
    watched: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Physical network -> all of its gateways, while some of them are apart."""
    apart: frozenset[str] = frozenset()
    """Pairs of gateways that are in no group together, as `ovenbird.plan.separation` writes them."""

    def home(self, router: str) -> str:
        """Return a router's home gateway; "" when it has none."""
        return self.homes.get(router) or self.first(router)

    def first(self, router: str) -> str:
        """Return the gateway that is most wanted for a router; "" when it has none."""
        return next((name for name, _ in self.routers.get(router, ())), "")
