"""The underlay address of a host with the userspace datapath.

ovs-vswitchd sends tunnel packets itself, so the address must lie on a bridge of its own (`br-phy`) that the underlay
interface is a port of. What was moved is remembered on disk: after a reboot, or with the bridge gone, the address must
come back. Must never take the address away from the interface before the bridge exists.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ovenbird.model.errors import Refused
from ovenbird.plan.switch import UNDERLAY_BRIDGE
from ovenbird.process.command import run

UNDERLAY_MOVED = "underlay.moved"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Underlay:
    """What the underlay interface carried before Open vSwitch took it."""

    interface: str
    mac: str
    mtu: int
    addresses: tuple[str, ...]
    """With prefix length, e.g. `10.0.0.1/24`."""
    routes: tuple[str, ...]
    """As `ip route` takes them, without the device, e.g. `default via 10.0.0.254`."""


async def learn(interface: str, address: str, remembered: Path) -> Underlay:
    """Return what the interface carries now, or what it carried when it was last seen with the address.

    Raises `Refused` when the address is neither there nor remembered.
    """
    links = {link["ifname"]: link for link in json.loads(await run("ip", "-json", "address", "show"))}
    link = links.get(interface)
    if link is None:
        raise Refused(
            f"underlay interface {interface} does not exist",
            code="no_underlay_interface",
            subject=interface,
            evidence=f"this host has {', '.join(sorted(links))}",
            hint="correct underlay_interface in cluster.yaml",
        )
    addresses = tuple(
        f"{one['local']}/{one['prefixlen']}" for one in link.get("addr_info", ()) if one.get("scope") == "global"
    )
    if any(one.split("/")[0] == address for one in addresses):
        routes = json.loads(await run("ip", "-json", "route", "show", "dev", interface))
        found = Underlay(
            interface=interface,
            mac=link["address"],
            mtu=int(link["mtu"]),
            addresses=addresses,
            routes=tuple(_route(route) for route in routes if route.get("protocol") != "kernel"),
        )
        remembered.parent.mkdir(parents=True, exist_ok=True)
        half = remembered.with_suffix(".new")
        half.write_text(json.dumps(asdict(found)), encoding="utf-8")
        half.rename(remembered)
        return found
    if remembered.exists():
        known = json.loads(remembered.read_text(encoding="utf-8"))
        if any(one.split("/")[0] == address for one in known["addresses"]):
            return Underlay(**{**known, "addresses": tuple(known["addresses"]), "routes": tuple(known["routes"])})
    raise Refused(
        f"underlay interface {interface} does not carry {address}",
        code="no_underlay_address",
        subject=interface,
        evidence=f"it carries {', '.join(addresses) or 'no address'}",
        hint="give the interface its address, or correct cluster.yaml",
    )


def _route(route: dict[str, Any]) -> str:
    words = [route["dst"]]
    for key, word in (("gateway", "via"), ("prefsrc", "src"), ("metric", "metric")):
        if key in route:
            words += [word, str(route[key])]
    return " ".join(words)


async def assert_on_bridge(underlay: Underlay) -> None:
    """Bring address and routes into place; safe to repeat, also after ovs-vswitchd was killed and came back."""
    links = {link["ifname"]: link for link in json.loads(await run("ip", "-json", "address", "show"))}
    bridge = links.get(UNDERLAY_BRIDGE)
    if bridge is None:
        raise Refused(f"{UNDERLAY_BRIDGE} does not exist yet", code="no_underlay_bridge", subject=UNDERLAY_BRIDGE)
    present = {f"{one['local']}/{one['prefixlen']}" for one in bridge.get("addr_info", ())}
    left = {f"{one['local']}/{one['prefixlen']}" for one in links[underlay.interface].get("addr_info", ())}
    batch = [f"address del {one} dev {underlay.interface}" for one in underlay.addresses if one in left]
    batch += [f"link set {underlay.interface} up", f"link set {UNDERLAY_BRIDGE} up"]
    batch += [f"address add {one} dev {UNDERLAY_BRIDGE}" for one in underlay.addresses if one not in present]
    batch += [f"route replace {route} dev {UNDERLAY_BRIDGE}" for route in underlay.routes]
    await run("ip", "-batch", "-", stdin="\n".join(batch) + "\n")
    if any(one not in present for one in underlay.addresses):
        _log.info(UNDERLAY_MOVED, extra={"interface": underlay.interface, "addresses": underlay.addresses})
