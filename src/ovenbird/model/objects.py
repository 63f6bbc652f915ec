"""The kinds of object that people declare, as frozen typed specs, and the envelope that holds one.

Specs are pydantic models because they are parsed from people's YAML: unknown fields are refused, every problem
of a document is reported at once, and the JSON Schema for editors is exported from the same definition
(docs/adr/0002-specs-and-yaml.md). Everything behind the parser treats them as frozen values.
Cross-object rules (references, overlaps, pools) are not here: see `ovenbird.plan.admission`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

NAME_PATTERN = r"^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$"
Name = Annotated[str, Field(pattern=NAME_PATTERN, description="Name of a declared object.")]


class Key(NamedTuple):
    """Identity of a declared object: its kind and its name."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"


class Spec(BaseModel):
    """Base of every spec: frozen, and unknown fields are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ExternalNetwork(Spec):
    """A provider network: a physical network (optionally a VLAN of it) with its upstream router."""

    physnet: Name
    vlan: Annotated[int, Field(ge=1, le=4094)] | None = None
    cidr: str
    gateway: str | None = None
    """Address of the upstream router; routers on this network send their default route there."""
    pool: tuple[str, ...] = ()
    """Addresses that may be allocated, each "first-last" or one address; empty: the whole network."""
    mtu: Annotated[int, Field(ge=576, le=9216)] = 1500


class Network(Spec):
    """A virtual layer-2 network with one subnet."""

    cidr: str
    router: Name | None = None
    """Router that this network is attached to; the router takes `gateway`."""
    gateway: str | None = None
    """The router's address in this network; the first usable address when not given."""
    dhcp: bool = True
    dns: tuple[str, ...] = ()
    mtu: Annotated[int, Field(ge=576, le=9216)] | None = None
    """MTU told to workloads; by default what fits through Geneve on this cluster's underlay."""


class RouterExternal(Spec):
    """A router's leg into an external network."""

    network: Name
    address: str | None = None
    """Allocated from the network's pool when not given."""
    snat: bool = True


class RouterGateways(Spec):
    """How a router's gateways are chosen."""

    mode: Literal["active-standby"] = "active-standby"
    count: Annotated[int, Field(ge=1, le=5)] = 5
    """At most this many gateways carry the router (active and standbys)."""


class Route(Spec):
    """A static route."""

    to: str
    via: str


class Router(Spec):
    """A distributed router; with `external`, it has a distributed gateway port with an HA chassis group."""

    external: RouterExternal | None = None
    gateways: RouterGateways = RouterGateways()
    routes: tuple[Route, ...] = ()


class Port(Spec):
    """A workload's port in a network."""

    network: Name
    address: str | None = None
    """Allocated from the network when not given."""
    mac: str | None = None
    port_security: bool = True


class FloatingIP(Spec):
    """An external address that leads to one port (1:1 NAT)."""

    network: Name
    """External network that the address is taken from."""
    port: Name
    address: str | None = None
    distributed: bool = False
    """Translate on the workload's own chassis, so that the loss of every gateway does not matter."""


AnySpec = ExternalNetwork | Network | Router | Port | FloatingIP

KINDS: dict[str, type[Spec]] = {cls.__name__: cls for cls in (ExternalNetwork, Network, Router, Port, FloatingIP)}
"""Every kind, in an order in which each only refers to kinds before it, or to its own network's router."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assigned:
    """What admission chose for an object and must stay the same for its whole life."""

    address: str = ""
    """Port: its address. Router: its external address. FloatingIP: the address."""
    mac: str = ""
    """Port: its MAC. Router: MAC of its external leg. FloatingIP: MAC used when distributed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """One declared object as it is stored."""

    kind: str
    name: str
    spec: Spec
    assigned: Assigned = Assigned()
    revision: int = 0
    """Revision of the declared state in which this object last changed."""

    @property
    def key(self) -> Key:
        """Identity of the object."""
        return Key(self.kind, self.name)
