"""The kinds of object that people declare, as frozen typed specs, and the envelope that holds one.

Specs are pydantic models because they are parsed from people's YAML: unknown fields are refused, every problem
of a document is reported at once, and the JSON Schema for editors is exported from the same definition
(docs/adr/0002-specs-and-yaml.md). Everything behind the parser treats them as frozen values.
Cross-object rules (references, overlaps, pools) are not here: see `ovenbird.plan.admission`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from ovenbird.model.addresses import parse_address, parse_mac, parse_range, parse_subnet, parse_usable_subnet
from ovenbird.model.addresses6 import (
    is_link_local,
    is_within,
    parse_address6,
    parse_destination6,
    parse_next_hop6,
    parse_prefix6,
)

NAME_PATTERN = r"^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$"
Name = Annotated[str, Field(pattern=NAME_PATTERN)]


def _checked_address(text: str) -> str:
    parse_address(text)
    return text


def _checked_subnet(text: str) -> str:
    parse_usable_subnet(text)
    return text


def _checked_destination(text: str) -> str:
    if ":" in text:
        return parse_destination6(text)
    parse_subnet(text)
    return text


def _checked_hop(text: str) -> str:
    return parse_address6(text) if ":" in text else _checked_address(text)


def _checked_range(text: str) -> str:
    parse_range(text)
    return text


Address = Annotated[str, AfterValidator(_checked_address), Field(examples=["192.168.1.10"])]
Cidr = Annotated[str, AfterValidator(_checked_subnet), Field(examples=["192.168.1.0/24"])]
Destination = Annotated[
    str, AfterValidator(_checked_destination), Field(examples=["10.20.0.0/16", "0.0.0.0/0", "2001:db8:7::/48"])
]
Hop = Annotated[str, AfterValidator(_checked_hop), Field(examples=["192.168.1.10", "2001:db8:1::10"])]
PoolRange = Annotated[str, AfterValidator(_checked_range), Field(examples=["172.16.0.100-172.16.0.199"])]
Address6 = Annotated[str, AfterValidator(parse_address6), Field(examples=["2001:db8::10"])]
NextHop6 = Annotated[str, AfterValidator(parse_next_hop6), Field(examples=["fe80::1", "2001:db8::fe"])]
Cidr6 = Annotated[str, AfterValidator(parse_prefix6), Field(examples=["2001:db8:1::/64"])]
L4Port = Annotated[int, Field(ge=1, le=65535)]
Mac = Annotated[str, AfterValidator(parse_mac), Field(examples=["0a:00:00:00:00:01"])]


class Key(NamedTuple):
    """Identity of a declared object: its kind and its name."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"


class Spec(BaseModel):
    """Base of every spec: frozen, and unknown fields are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class ExternalNetwork(Spec):
    """A provider network: a physical network (optionally a VLAN of it) with its upstream router."""

    physnet: Name
    """Physical network, as hosts' `uplinks` in cluster.yaml name it."""
    vlan: Annotated[int, Field(ge=1, le=4094)] | None = None
    """VLAN of the physical network; untagged when not given."""
    cidr: Cidr
    """The network's addresses."""
    gateway: Address | None = None
    """Address of the upstream router; routers on this network send their default route there."""
    pool: tuple[PoolRange, ...] = ()
    """Addresses given out to routers, floating IPs and load balancers, each "first-last" or one address; empty: the
    whole network. A router may ask for another address of the network; the others' addresses are always of the pool."""
    mtu: Annotated[int, Field(ge=576, le=9216)] = 1500
    """MTU of the physical network."""
    cidr6: Cidr6 | None = None
    """The network's IPv6 addresses, beside its IPv4 ones; a prefix of 64 bits."""
    gateway6: NextHop6 | None = None
    """IPv6 address of the upstream router, link-local or one of `cidr6`."""

    @model_validator(mode="after")
    def _gateway6_is_there(self) -> Self:
        if self.gateway6 is None:
            return self
        if self.cidr6 is None:
            raise ValueError("gateway6 has no meaning without cidr6: routers have no IPv6 address there")
        if not is_link_local(self.gateway6) and not is_within(self.gateway6, self.cidr6):
            raise ValueError(f"gateway6 {self.gateway6} is outside {self.cidr6}, and is not link-local")
        return self


class Network(Spec):
    """A virtual layer-2 network with one subnet."""

    cidr: Cidr
    """The network's addresses."""
    router: Name | None = None
    """Router that this network is attached to; the router takes `gateway`."""
    gateway: Address | None = None
    """The router's address in this network; the first usable address when not given."""
    dhcp: bool = True
    """Whether workloads get their address by DHCP."""
    dns: tuple[Address, ...] = ()
    """DNS servers told to workloads by DHCP."""
    mtu: Annotated[int, Field(ge=576, le=9216)] | None = None
    """MTU told to workloads; by default what fits through Geneve on this cluster's underlay, or 1500 where nothing of
    the network goes through Geneve."""
    physnet: Name | None = None
    """Physical network that carries this network between hosts, in VLAN `vlan`; when not given, tunnels do."""
    vlan: Annotated[int, Field(ge=1, le=4094)] | None = None
    """VLAN of `physnet` that is this network's alone."""
    cidr6: Cidr6 | None = None
    """The network's IPv6 addresses, beside its IPv4 ones; a prefix of 64 bits. Its router has the first one, and tells
    workloads the prefix, of which they make their own."""
    dhcp6: bool = False
    """Whether workloads get their IPv6 address by DHCPv6 instead of making it; it is the same one."""
    dns6: tuple[Address6, ...] = ()
    """DNS servers told to workloads by DHCPv6, and the first of them by router advertisements."""

    @model_validator(mode="after")
    def _ipv6_is_there(self) -> Self:
        if self.cidr6 is None and (self.dhcp6 or self.dns6):
            raise ValueError(f"{'dhcp6' if self.dhcp6 else 'dns6'} has no meaning without cidr6")
        return self

    @model_validator(mode="after")
    def _vlan_of_a_physical_network(self) -> Self:
        if (self.physnet is None) != (self.vlan is None):
            given, lacking = ("vlan", "physnet") if self.physnet is None else ("physnet", "vlan")
            raise ValueError(f"{given} has no meaning without {lacking}: a network has a VLAN of a physical network")
        return self


def _or_a_list(schema: dict[str, Any]) -> None:
    """Let a JSON Schema accept a list of what it accepts one of."""
    one = schema["anyOf"][0]
    schema["anyOf"].insert(1, {"type": "array", "items": one})


class RouterExternal(Spec):
    """A router's leg into an external network."""

    network: Name
    """ExternalNetwork that the router leads to."""
    address: Address | None = None
    """Allocated from the network's pool when not given."""
    snat: bool = True
    """Whether workloads without a floating IP reach the external network from the router's address."""
    address6: Address6 | None = None
    """The router's address in the network's `cidr6`; follows from the router's MAC when not given."""
    snat6: bool = False
    """Whether workloads reach the external network from the router's IPv6 address: only for networks whose prefixes
    nobody outside routes to this router."""


class RouterGateways(Spec):
    """How a router's gateways are chosen."""

    mode: Literal["active-standby", "shared", "gateway-router", "active-active"] = "active-standby"
    """How gateways carry the router. "active-standby": one carries it, the others stand by, in an order of its own;
    "shared": so, in one order for all shared routers of the physical network; "gateway-router": it has a router of its
    own on one gateway, which the controller moves when that dies; "active-active": it has several of those, each with
    an address of its own, and flows are spread over them. docs/gateways.md says what each survives and costs."""
    active: Annotated[int, Field(ge=2, le=5)] | None = None
    """Gateways that carry the router at the same time; only with mode "active-active", where it is 2 when not given."""
    count: Annotated[int, Field(ge=1, le=5)] = 5
    """At most this many gateways carry the router (active and standbys)."""
    zones: tuple[Name, ...] = ()
    """Only gateways of these availability zones carry the router, as hosts' `zone` in cluster.yaml says; empty: any."""
    failback: Literal["preempt", "delayed", "manual"] = "delayed"
    """What happens when the router's home gateway is back after a failover or a drain. "preempt": it takes the router
    at once, as OVN does by itself; "delayed": once it has been good for `failback_delay_s`; "manual": it waits."""
    failback_delay_s: Annotated[int, Field(ge=1, le=86400)] | None = None
    """Seconds that the home gateway must have been good; only with "delayed", where it is 60 when not given."""

    redirect: Literal["overlay", "bridged"] = "overlay"
    """How other hosts hand the active gateway what leaves. "overlay": through Geneve; "bridged": over the external
    network itself, at its full MTU, which takes an uplink to it on every host with a workload of the router, and
    networks that are VLANs of a physical network."""

    @model_validator(mode="after")
    def _delay_only_when_delayed(self) -> Self:
        if self.failback_delay_s is not None and self.failback != "delayed":
            raise ValueError(f'failback_delay_s has no meaning with failback "{self.failback}"')
        return self

    @model_validator(mode="after")
    def _active_only_when_several_are(self) -> Self:
        if self.active is not None and self.mode != "active-active":
            raise ValueError(f'active has no meaning with mode "{self.mode}": only "active-active" has several')
        return self


class Route(Spec):
    """A static route."""

    to: Destination
    """Destination network, of IPv4 or IPv6."""
    via: Hop
    """Next hop of the same kind, in a network of the router; of IPv6 not by its link-local address."""

    @model_validator(mode="after")
    def _of_one_family(self) -> Self:
        if self.is_ipv6 != (":" in self.via):
            raise ValueError(f"the route to {self.to} leads via {self.via}: one is IPv4, the other IPv6")
        return self

    @property
    def is_ipv6(self) -> bool:
        """Whether it is a route of IPv6."""
        return ":" in self.to


class Router(Spec):
    """A distributed router; with `external`, it has a distributed gateway port with an HA chassis group."""

    external: Annotated[RouterExternal | None, Field(json_schema_extra=_or_a_list)] = None
    """Leg into an external network; none when not given. A list is short for this, the first, and `further`."""
    further: tuple[RouterExternal, ...] = ()
    """Legs into more external networks, each with gateways of its own; not with modes that have gateway routers."""
    gateways: RouterGateways = RouterGateways()
    """How the hosts that carry the external leg are chosen."""
    routes: tuple[Route, ...] = ()
    """Static routes; the default route through the external network's gateway needs none."""

    @model_validator(mode="before")
    @classmethod
    def _list_of_externals(cls, given: Any) -> Any:
        if isinstance(given, dict) and isinstance(given.get("external"), list | tuple) and "further" not in given:
            first, *others = given["external"] or (None,)
            return {**given, "external": first, "further": tuple(others)}
        return given

    @model_validator(mode="after")
    def _further_are_others(self) -> Self:
        if self.further and self.external is None:
            raise ValueError("further has no meaning without external, which is the first of them")
        names = [each.network for each in self.externals]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"ExternalNetwork/{repeated[0]} is given twice; a router has one leg into each")
        if self.further and self.gateways.redirect == "bridged":
            raise ValueError(
                'further has no meaning with redirect "bridged": OVN does so for one external network only'
            )
        if self.gateways.redirect == "bridged" and self.gateways.mode in ("gateway-router", "active-active"):
            raise ValueError(f'redirect has no meaning with mode "{self.gateways.mode}": its gateways have own routers')
        if self.further and self.gateways.mode in ("gateway-router", "active-active"):
            raise ValueError(
                f'further has no meaning with mode "{self.gateways.mode}": its gateways lead to one network'
            )
        return self

    @property
    def externals(self) -> tuple[RouterExternal, ...]:
        """Every leg, the main one first."""
        return (self.external, *self.further) if self.external is not None else ()


class Port(Spec):
    """A workload's port in a network."""

    network: Name
    """Network of the port."""
    address: Address | None = None
    """Allocated from the network when not given."""
    mac: Mac | None = None
    """Derived from the port's name when not given."""
    port_security: bool = True
    """Whether the workload may only use its own address and MAC."""


class FloatingIP(Spec):
    """An external address that leads to one port (1:1 NAT)."""

    network: Name
    """External network that the address is taken from."""
    port: Name
    """Port that the address leads to."""
    address: Address | None = None
    """Allocated from the network's pool when not given."""
    distributed: bool = False
    """Translate on the workload's own chassis, so that the loss of every gateway does not matter."""
    stateless: bool = False
    """Translate without connection tracking, packet by packet, so that no gateway has state to lose."""
    address6: Address6 | None = None
    """An address of the network's `cidr6` that leads to the port's IPv6 address, in the same way."""


class Target(Spec):
    """A backend of a load balancer."""

    port: Name
    """Port that connections are led to."""
    target_port: L4Port | None = None
    """TCP or UDP port that the workload listens on; the same as the outer one when not given."""


class BalancedPort(Spec):
    """One TCP or UDP port of a load balancer."""

    port: L4Port
    """TCP or UDP port that clients connect to."""
    targets: Annotated[tuple[Target, ...], Field(min_length=1)]
    """Backends that new connections are spread over; a single one is plain port forwarding."""


class LoadBalancer(Spec):
    """An external address whose TCP or UDP ports lead to one or several ports each (DNAT)."""

    network: Name
    """External network that the address is taken from; all targets are behind one router that leads there."""
    address: Address | None = None
    """Allocated from the network's pool when not given. Several load balancers of one router may share an address as
    long as no two have the same protocol and port."""
    address6: Address6 | None = None
    """An address of the network's `cidr6` that leads to the targets' IPv6 addresses, in the same way."""
    protocol: Literal["tcp", "udp"] = "tcp"
    """Protocol of all its ports."""
    ports: Annotated[tuple[BalancedPort, ...], Field(min_length=1)]
    """What is led where."""
    affinity: Literal["none", "client"] = "none"
    """"none": each connection goes to any target; "client": all connections of one client address to the same."""


AnySpec = ExternalNetwork | Network | Router | Port | FloatingIP | LoadBalancer

KINDS: dict[str, type[Spec]] = {
    cls.__name__: cls for cls in (ExternalNetwork, Network, Router, Port, FloatingIP, LoadBalancer)
}
"""Every kind, in an order in which each only refers to kinds before it, or to its own network's router."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assigned:
    """What admission chose for an object and must stay the same for its whole life."""

    address: str = ""
    """Port: its address. Router: its external address. FloatingIP and LoadBalancer: the address.
    Network: its gateway."""
    mac: str = ""
    """Port: its MAC. Router: MAC of its external leg. FloatingIP: MAC used when distributed.
    Network: MAC of the gateway, the router's leg in it."""
    others: tuple[str, ...] = ()
    """Router with several legs (active-active, or `further`): the external addresses of the second and further ones."""


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
