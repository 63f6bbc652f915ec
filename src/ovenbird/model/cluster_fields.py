"""The fields of `cluster.yaml` with their types and bounds, as they are validated one by one.

What fields must be beside each other is checked in `cluster_file.py` and `cluster_bgp.py`. It must never hold a rule
that needs two fields.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from ovenbird.model.addresses import parse_address
from ovenbird.model.cluster import GATEWAY_TIMES_S, Bfd, GatewayTimes
from ovenbird.model.objects import NAME_PATTERN

_INTERFACE = re.compile(r"^[^\s/]{1,15}$")
_RESERVED_ASNS = (23456, 65535)
"""AS_TRANS (RFC 6793) and the last number of two octets (RFC 7300)."""


def _checked_address(text: str) -> str:
    parse_address(text)
    return text


def _checked_interface(text: str) -> str:
    if not _INTERFACE.match(text) or text in (".", ".."):
        raise ValueError(f"{text!r} is not a network interface's name (1 to 15 characters, no '/' or space)")
    return text


def _checked_asn(number: int) -> int:
    if number in _RESERVED_ASNS:
        raise ValueError(f"{number} is reserved and nobody's autonomous system; private ones are 64512 to 65534")
    return number


Name = Annotated[str, Field(pattern=NAME_PATTERN)]
Interface = Annotated[str, AfterValidator(_checked_interface)]
Asn = Annotated[int, Field(ge=1, le=4294967294), AfterValidator(_checked_asn)]


class Fields(BaseModel):
    """Unknown fields are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class BfdFields(Fields):
    """Timers of BFD."""

    min_rx_ms: Annotated[int, Field(ge=10, le=60000)] = Bfd().min_rx_ms
    min_tx_ms: Annotated[int, Field(ge=10, le=60000)] = Bfd().min_tx_ms
    mult: Annotated[int, Field(ge=1, le=255)] = Bfd().mult


def _bounded(name: str) -> Any:
    least, most = GATEWAY_TIMES_S[name]
    return Field(default=getattr(GatewayTimes(), name), ge=least, le=most)


class GatewayFields(Fields):
    """Times of gateways."""

    hold_down_s: int = _bounded("hold_down_s")
    longest_hold_down_s: int = _bounded("longest_hold_down_s")
    lost_after_s: int = _bounded("lost_after_s")


class NeighborFields(Fields):
    """A router that is told by BGP."""

    address: Annotated[str, AfterValidator(_checked_address)]
    """The neighbor's IPv4 address, on a leg of this host"""
    asn: Asn
    """The neighbor's autonomous system"""


class BgpFields(Fields):
    """How a gateway routes to physical networks."""

    asn: Asn
    """This host's autonomous system"""
    physnets: tuple[Name, ...]
    """Physical networks that this host reaches by routing"""
    neighbors: tuple[NeighborFields, ...]
    """Routers that are told what this gateway carries, each with address and asn"""
    bfd: BfdFields | None = None


class HostFields(Fields):
    """One host."""

    name: str
    """The host's name, as `hostname` prints it"""
    address: Annotated[str, AfterValidator(_checked_address)]
    """The host's underlay address"""
    roles: tuple[str, ...]
    """What the host is for: central, gateway, compute"""
    uplinks: dict[Name, Interface] = {}
    underlay_interface: Interface | Literal[""] = ""
    zone: Name | Literal[""] = ""
    """Availability zone of the host"""
    weight: Annotated[int, Field(ge=1, le=100)] = 1
    bgp: BgpFields | None = None


class ClusterFields(Fields):
    """The whole file."""

    name: Name
    """Name of the cluster"""
    hosts: tuple[HostFields, ...]
    """The cluster's hosts, each with name, address and roles"""
    datapath: Literal["auto", "system", "netdev"] = "auto"
    underlay_mtu: Annotated[int, Field(ge=1280, le=9216)] = 1500
    election_timer_ms: Annotated[int, Field(ge=100, le=600000)] = 1000
    timers: Literal["conservative", "normal", "fast"] = "normal"
    bfd: BfdFields | None = None
    gateways: GatewayFields = GatewayFields()
