"""What the API needs of the part of the agent that it fronts: see `ovenbird.controller.service.ControllerService`.

As protocols, so that nothing of the controller is imported to serve a schema or to test a face.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from ovenbird.model.cluster import Cluster
from ovenbird.model.documents import Document
from ovenbird.model.objects import Key
from ovenbird.ovsdb import Client
from ovenbird.plan.inventory import InventoryView


class Node(Protocol):
    """A host's record."""

    @property
    def name(self) -> str:
        """Name of the host."""

    @property
    def heartbeat_s(self) -> int:
        """Unix seconds of its agent's last sign."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """What its agent sees."""


class Attachment(Protocol):
    """A port wanted on a node."""

    def to_json(self) -> dict[str, Any]:
        """Return it as the API shows it."""


class Outcome(Protocol):
    """What a change of the declared state did, or would do."""

    def to_json(self) -> dict[str, Any]:
        """Return it as the API shows it: revision and changes."""


class Store(Protocol):
    """The declared state."""

    @property
    def inventory(self) -> InventoryView:
        """What is declared."""

    @property
    def revision(self) -> int:
        """Revision of what is declared."""

    @property
    def epoch(self) -> int | None:
        """Epoch of the acting controller; None while the state is not current."""

    @property
    def synced(self) -> bool:
        """Whether the state is complete and current."""

    def nodes(self) -> Sequence[Node]:
        """Return every host's record."""

    def attachments(self) -> Sequence[Attachment]:
        """Return every attachment."""

    async def ready(self, timeout_s: float) -> None:
        """Wait until the state is complete and current, or say why not."""

    async def apply(self, documents: Sequence[Document], *, dry_run: bool) -> Outcome:
        """Declare objects, all or none."""

    async def delete(self, keys: Iterable[Key], *, dry_run: bool) -> Outcome:
        """Take objects out, all or none."""

    async def attach(self, port: str, node: str, spec: Mapping[str, Any]) -> Attachment:
        """Want a port on a node."""

    async def detach(self, port: str) -> None:
        """No longer want a port anywhere."""


class Northbound(Protocol):
    """NB as this host sees it."""

    client: Client


class Service(Protocol):
    """The controller candidate of a central host."""

    name: str
    cluster: Cluster
    store: Store
    nb: Northbound
    subscribe: Callable[..., None]
