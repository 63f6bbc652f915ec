"""What the API needs of the controller candidate that it fronts (`ovenbird.controller.service.ControllerService`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from ovenbird.controller.leadership import Leadership
from ovenbird.controller.nb_watch import NbWatch
from ovenbird.controller.problems import Trouble
from ovenbird.controller.records import NodeRecord as Node
from ovenbird.controller.store import Store
from ovenbird.model.cluster import Cluster
from ovenbird.model.objects import Key
from ovenbird.ovsdb import Client

__all__ = ["Node", "Service"]


class Realised(Protocol):
    """How far a revision has come."""

    def to_json(self) -> dict[str, Any]:
        """Return it as the API shows it."""


class Realisation(Protocol):
    """Knows what is realised."""

    async def wait(self, revision: int | None, timeout_s: float) -> Realised:
        """Wait until a revision (None: the present one) is realised, at most so long; return how far it has come."""


class Southbound(Protocol):
    """SB as this host sees it."""

    @property
    def client(self) -> Client:
        """Connection to it."""


class Service(Protocol):
    """The controller candidate of a central host."""

    @property
    def node(self) -> str:
        """Name of this host."""

    @property
    def cluster(self) -> Cluster:
        """The cluster's description."""

    @property
    def store(self) -> Store:
        """What is declared."""

    @property
    def nb(self) -> NbWatch:
        """NB as this host sees it."""

    @property
    def sb(self) -> Southbound:
        """SB as this host sees it."""

    @property
    def realisation(self) -> Realisation:
        """What is realised."""

    @property
    def leadership(self) -> Leadership:
        """The part of this host in the election."""

    @property
    def problems(self) -> Mapping[Key, Sequence[Trouble]]:
        """What cannot be realised, by object; known to the acting controller only."""
