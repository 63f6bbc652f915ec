"""Addresses between a router and its gateway routers: the same for every router, seen by nobody else.

Each such router has a transit switch of its own, so no two of them meet. Workloads never get a route there, but a
network of the same addresses behind the router would; admission refuses that.
"""

from __future__ import annotations

from ovenbird.model.addresses import format_address, parse_address
from ovenbird.model.addresses6 import shifted6

TRANSIT = "169.254.64.0/28"
"""Link-local (RFC 3927), away from 169.254.169.254."""
TRANSIT_PREFIX = 28
DISTRIBUTED_ADDRESS = "169.254.64.1"
WATCH_ADDRESS = "169.254.64.14"
TRANSIT6 = "fd6f:7665:6e62:40::/64"
"""Unique local (RFC 4193). Link-local addresses would do for routes, but errors are answered from a port's address."""
DISTRIBUTED_ADDRESS6 = "fd6f:7665:6e62:40::1"
_WATCH_BASE = "169.254.64.16"


def transit_address(number: int) -> str:
    """Return the address of the gateway router of leg 1, 2, ..."""
    return format_address(parse_address(DISTRIBUTED_ADDRESS) + number)


def transit_address6(number: int) -> str:
    """Return the IPv6 address of the gateway router of leg 1, 2, ..."""
    return shifted6(DISTRIBUTED_ADDRESS6, number)


def watch_address(number: int) -> str:
    """Return the address of the port that has chassis watched for leg 1, 2, ...; nobody ever asks for it."""
    return format_address(parse_address(_WATCH_BASE) + number)
