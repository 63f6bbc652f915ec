"""Makes the host's kernel the next hop of routers on physical networks that it routes to.

The provider bridge's own port gets the network's `gateway` address, alone and not with the network: nothing may follow
from it but an answer to ARP. Whatever OVN sends comes to that port, to whichever address its routers have learnt; it is
routed by a table of its own (`ovenbird.plan.routed`). Workloads must not reach the host's own services through it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ovenbird.host.bridge_flows import change_flows
from ovenbird.model.layout import Layout
from ovenbird.plan.routed import PROTOCOL, RULES_FROM, TABLE, CarriedRoute, RoutedNetwork, changes, rules
from ovenbird.plan.switch import provider_bridge, routed_mac
from ovenbird.process.command import CommandFailed, run

SETTINGS = Path("/proc/sys/net/ipv4")
NFT_TABLE = "ovenbird-routed"
COOKIE = "0x6f766972"
FLOWS_S = 2.0
_RULES = range(RULES_FROM, RULES_FROM + 100)


async def keep_addresses(gateways: Mapping[str, Collection[str]]) -> None:
    """Have bridges up with exactly these addresses: physical network -> addresses. Raises `OvenbirdError`."""
    lines: list[str] = []
    for physnet, wanted in gateways.items():
        bridge = provider_bridge(physnet)
        there = await _json("-4", "addr", "show", "dev", bridge)
        has = {(each["local"], each["prefixlen"]) for link in there for each in link.get("addr_info", ())}
        want = {(address, 32) for address in wanted}
        lines += [f"addr del {address}/{length} dev {bridge}" for address, length in sorted(has - want)]
        lines += [f"addr replace {address}/{length} dev {bridge}" for address, length in sorted(want - has)]
        if any("UP" not in link.get("flags", ()) for link in there):
            lines.append(f"link set {bridge} up")
    if lines:
        await run("ip", "-batch", "-", stdin="\n".join(lines) + "\n")


async def keep_rules(physnets: Collection[str], networks: Collection[RoutedNetwork]) -> None:
    """Have our rules of policy routing, and no others in their place; one that stays is not touched.

    Raises `OvenbirdError`.
    """
    shown = await run("ip", "-4", "rule", "show")
    there = []
    for line in shown.splitlines():
        number, _, rule = line.partition(":")
        if number.isdigit() and int(number) in _RULES:
            there.append((int(number), " ".join(rule.replace("[detached]", "").split()).removeprefix("from all ")))
    # Several rules may have one preference: what is more than there are numbers shares the last one.
    wanted = [(min(number, _RULES[-1]), rule) for number, rule in enumerate(rules(physnets, networks), RULES_FROM)]
    lines = [f"rule add pref {number} {rule}" for number, rule in wanted if (number, rule) not in there]
    lines += [f"rule del pref {number} {rule}" for number, rule in there if (number, rule) not in wanted]
    if lines:
        await run("ip", "-4", "-batch", "-", stdin="\n".join(lines) + "\n")


async def keep_settings(physnets: Collection[str], neighbors: Iterable[str]) -> None:
    """Have the kernel forward between the bridges and the legs that lead to these neighbors. Raises `OvenbirdError`.

    Sources are not checked against routes there (`rp_filter`): the way back is another one. `all` counts beside each
    interface's own value; others keep what held for them.
    """
    legs = {leg for address in neighbors for leg in await _legs_to(address)}
    bridges = {provider_bridge(physnet) for physnet in physnets}
    strictest = _value("conf/all/rp_filter")
    if strictest > 0:
        for directory in (SETTINGS / "conf").iterdir():
            if directory.name != "all" and _value(f"conf/{directory.name}/rp_filter") < strictest:
                _set(f"conf/{directory.name}/rp_filter", strictest)
        _set("conf/all/rp_filter", 0)
    _set("conf/all/send_redirects", 0)
    for name in legs | bridges:
        _set(f"conf/{name}/rp_filter", 0)
        _set(f"conf/{name}/forwarding", 1)
        _set(f"conf/{name}/send_redirects", 0)
    for name in bridges:
        # A router asks for addresses of its network that other gateways carry.
        _set(f"conf/{name}/proxy_arp", 1)
        _set(f"neigh/{name}/proxy_delay", 0)


async def keep_filter(physnets: Collection[str]) -> None:
    """Let workloads reach nothing of the host itself but ICMP. Raises `OvenbirdError`."""
    lines = [f"add table ip {NFT_TABLE}"]
    lines += [f"add chain ip {NFT_TABLE} input {{ type filter hook input priority 0; policy accept; }}"]
    lines += [f"flush chain ip {NFT_TABLE} input"]
    for physnet in sorted(physnets):
        lines.append(f'add rule ip {NFT_TABLE} input iifname "{provider_bridge(physnet)}" ip protocol != icmp drop')
    await run("nft", "-f", "-", stdin="\n".join(lines) + "\n")


async def keep_flows(layout: Layout, physnets: Collection[str]) -> None:
    """Lead what OVN sends to the bridge's own port, whatever hardware address it has. Raises `OvenbirdError`."""
    for physnet in physnets:
        lines = (
            f"add cookie={COOKIE},priority=101,ip,in_port=LOCAL,actions=NORMAL",
            f"add cookie={COOKIE},priority=100,ip,actions=mod_dl_dst:{routed_mac(physnet)},LOCAL",
        )
        await change_flows(layout, provider_bridge(physnet), lines, timeout_s=FLOWS_S)


async def read_routes() -> frozenset[CarriedRoute]:
    """Return what the kernel has of our routes. Raises `OvenbirdError`."""
    try:
        shown = await _json("-4", "route", "show", "table", str(TABLE), "proto", str(PROTOCOL))
    except CommandFailed:  # a table without routes does not exist
        return frozenset()
    return frozenset(CarriedRoute(each["dst"], each.get("dev", ""), each.get("gateway", "")) for each in shown)


async def change_routes(lines: Collection[str]) -> None:
    """Apply lines of `ip -batch`, each for itself. Raises `OvenbirdError` if one of them fails."""
    await run("ip", "-4", "-force", "-batch", "-", stdin="\n".join(lines) + "\n")


async def clear() -> None:
    """Take routes, rules and the filter away: this host routes no more. Raises `OvenbirdError`."""
    if there := await read_routes():
        await change_routes(changes((), there))
    await keep_rules((), ())
    with suppress(CommandFailed):  # it never was there
        await run("nft", "delete", "table", "ip", NFT_TABLE)


async def _legs_to(address: str) -> list[str]:
    try:
        found = await _json("-4", "route", "get", address)
    except CommandFailed:  # no way there yet: its interface may come
        return []
    return [str(each["dev"]) for each in found if "dev" in each]


async def _json(*argv: str) -> list[dict[str, Any]]:
    shown = await run("ip", "-json", *argv)
    return list(json.loads(shown)) if shown.strip() else []


def _value(name: str) -> int:
    try:
        return int((SETTINGS / name).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0


def _set(name: str, value: int) -> None:
    """Write a setting that is not so; an interface that has just gone is no error."""
    if _value(name) != value:
        with suppress(FileNotFoundError):
            (SETTINGS / name).write_text(f"{value}\n", encoding="ascii")
