"""IPv6 beside IPv4, through gateways: addresses, routes, every way in and out, announcements, failover."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterator

import pytest
from tests.lab.cluster.gateway_watch import GatewayWatch
from tests.lab.cluster.site import CENTRALS, DECLARED, GATEWAYS, OUTSIDE6, VLAN, Site, own_address6, ping, seconds_of
from tests.waiting import eventually, eventually_sync

from ovenbird.lab.faults import PowerOff
from ovenbird.lab.node import Node, Workload

pytestmark = pytest.mark.lab

FLOATING6, DISTRIBUTED6, BALANCED6 = "2001:db8::102", "2001:db8::164", "2001:db8::150"
VLAN_HOP, FAR = "fe80::fe", "2001:db8:ffff::1"
"""The upstream router in the VLAN, by its link-local address, and an address behind it."""
WHERE = {"vm61": "n1", "vm62": "n2", "vm63": "n1", "vm64": "n2", "vm65": "n1", "vm66": "n2"}
DNS6 = ["fd00::53", "fd00::54"]
BEHIND, BEHIND_HOP = "2001:db8:7::1", "2001:db8:61::800:ff:fe00:61"
"""An address behind a workload, and that workload's own."""
RACK6 = "2001:db8::65"
CHANGED = {
    ("ExternalNetwork", "public"): {"cidr6": "2001:db8::/64", "gateway6": OUTSIDE6},
    ("ExternalNetwork", "tenant-uplink"): {"cidr6": "2001:db8:101::/64", "gateway6": VLAN_HOP},
    ("Router", "tenant"): {"external": {"network": "tenant-uplink", "snat6": True, "address6": "2001:db8:101::9"}},
}
ADDED = f"""
{{kind: Network, name: routed6, spec: {{cidr: 192.168.61.0/24, cidr6: "2001:db8:61::/64", router: r1}}}}
---
{{kind: Network, name: private6, spec: {{cidr: 192.168.62.0/24, cidr6: "fd00:62::/64", router: r1}}}}
---
{{kind: Network, name: hidden6, spec: {{cidr: 192.168.63.0/24, cidr6: "fd00:63::/64", dns6: {DNS6}, router: tenant}}}}
---
{{kind: Network, name: told6,
 spec: {{cidr: 192.168.66.0/24, cidr6: "fd00:66::/64", dhcp6: true, dns6: {DNS6}, router: r1}}}}
---
kind: Router
name: rack6
spec:
  external: {{network: public, address6: "{RACK6}"}}
  gateways: {{redirect: bridged, failback_delay_s: 5}}
---
{{kind: Network, name: rack6-web,
 spec: {{cidr: 192.168.65.0/24, cidr6: "2001:db8:65::/64", router: rack6, physnet: ext, vlan: 265}}}}
---
{{kind: Port, name: vm61, spec: {{network: routed6, mac: "0a:00:00:00:00:61", port_security: false}}}}
---
{{kind: Port, name: vm62, spec: {{network: private6}}}}
---
{{kind: Port, name: vm63, spec: {{network: hidden6}}}}
---
{{kind: Port, name: vm64, spec: {{network: routed6}}}}
---
{{kind: Port, name: vm65, spec: {{network: rack6-web}}}}
---
{{kind: Port, name: vm66, spec: {{network: told6}}}}
---
kind: LoadBalancer
name: balanced6
spec:
  network: public
  address6: "{BALANCED6}"
  ports: [{{port: 8080, targets: [{{port: vm61}}, {{port: vm62}}]}}]
---
{{kind: FloatingIP, name: floating6, spec: {{network: public, port: vm62, address6: "{FLOATING6}"}}}}
---
{{kind: FloatingIP, name: own6, spec: {{network: public, port: vm64, address6: "{DISTRIBUTED6}", distributed: true}}}}
"""
FIRST_WITHIN_S = 0.7
"""After a claim. OVN announces no IPv6 address at all; its announcements of IPv4 begin after a second."""
REPEATED = 5
"""Within two seconds."""
HANDED_OVER_S = 3.0
FOREIGN_MAC = "0a:66:00:00:00:66"
SERVER = """
import socket, sys
listener = socket.create_server(("::", 8080), family=socket.AF_INET6)
while True:
    connection, _ = listener.accept()
    connection.sendall(sys.argv[1].encode())
    connection.close()
"""
CLIENT = """
import socket, sys
for _ in range(16):
    try:
        with socket.create_connection((sys.argv[1], 8080), timeout=1) as connection:
            print(connection.recv(99).decode())
    except OSError as error:
        print("failed:", error)
"""
SOLICIT, INFORMATION = 1, 11
DHCPV6 = """
import json, os, socket, struct, sys
def options(data):
    while data:
        code, length = struct.unpack("!HH", data[:4])
        yield code, data[4:4 + length]
        data = data[4 + length:]
def addresses(data):
    return [socket.inet_ntop(socket.AF_INET6, data[at:at + 16]) for at in range(0, len(data), 16)]
mac = bytes.fromhex(open("/sys/class/net/eth0/address").read().replace(":", ""))
index, message = socket.if_nametoindex("eth0"), int(sys.argv[1])
asked = bytes((message,)) + os.urandom(3)
asked += struct.pack("!HHHH", 1, 10, 3, 1) + mac + struct.pack("!HHH", 6, 2, 23)
if message == 1:
    asked += struct.pack("!HHIII", 3, 12, 1, 0, 0)
client = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
client.bind(("::", 546))
client.settimeout(2)
client.sendto(asked, ("ff02::1:2", 547, 0, index))
found = dict(options(client.recv(2000)[4:]))
inner = dict(options(found.get(3, bytes(12))[12:]))
print(json.dumps({"dns": addresses(found.get(23, b"")), "addresses": addresses(inner.get(5, b"")[:16])}))
"""


@pytest.fixture(scope="module")
def dual(whole: Site) -> Iterator[Site]:
    """The cluster with IPv6 added to what is there, and workloads behind two of its routers."""
    site, before = whole, {}
    for (kind, name), more in CHANGED.items():
        before[kind, name] = site.api.get(f"/v1/objects/{kind}/{name}")["spec"]
        spec = {key: value for key, value in before[kind, name].items() if value is not None}
        site.apply(json.dumps({"kind": kind, "name": name, "spec": {**spec, **more}}))
    site.apply(ADDED)
    r1 = {key: value for key, value in site.api.get("/v1/objects/Router/r1")["spec"].items() if value is not None}
    route = {"to": "2001:db8:7::/48", "via": BEHIND_HOP}
    site.apply(json.dumps({"kind": "Router", "name": "r1", "spec": {**r1, "routes": [route]}}))
    for port, node in WHERE.items():
        site.api.post("/v1/attachments", {"port": port, "node": node, "spec": {"type": "namespace", "address": "dhcp"}})
    upstream = (
        ("addr", "add", f"{VLAN_HOP}/64", "dev", f"vlan{VLAN}", "nodad"),
        ("addr", "add", f"{FAR}/128", "dev", "lo"),
        ("route", "add", "2001:db8:101::/64", "dev", f"vlan{VLAN}"),
        ("route", "add", "2001:db8:61::/64", "via", router6(site, "r1")),
        ("route", "add", "2001:db8:7::/48", "via", router6(site, "r1")),
        ("route", "add", "2001:db8:65::/64", "via", RACK6),
    )
    for words in upstream:
        site.outside.run(["ip", "-6", *words], timeout_s=10).checked(subject="upstream")
    try:
        yield site
    finally:
        for words in reversed(upstream):
            site.outside.run(["ip", "-6", words[0], "del", *words[2:5]], timeout_s=10)
        for port in WHERE:
            site.api.delete(f"/v1/attachments/{port}")
        site.apply(json.dumps({"kind": "Router", "name": "r1", "spec": r1}))  # without a route through what goes
        site.delete(("LoadBalancer", "balanced6"), *(("FloatingIP", name) for name in ("floating6", "own6")))
        site.delete(*(("Port", port) for port in WHERE))
        site.delete(*(("Network", name) for name in ("routed6", "private6", "hidden6", "told6", "rack6-web")))
        site.delete(("Router", "rack6"))
        site.apply(DECLARED)
        site.settled()


def router6(site: Site, router: str) -> str:
    """The IPv6 address that OVN has at a router's external port."""
    networks = site.nb("Logical_Router_Port", "networks", where=[f"name={router}_public"])
    found = networks[0]["networks"]
    return next(each.partition("/")[0] for each in found if ":" in each)


def workload(site: Site, name: str) -> Workload:
    return site.lab.node(WHERE[name]).workload(name)


def address6(site: Site, name: str) -> str:
    return own_address6(workload(site, name))


def reaches(place: Node | Workload, target: str, *, size: int | None = None) -> None:
    """Wait until an echo comes back; `size`: of the whole packet."""
    options = ("-6",) if size is None else ("-6", "-M", "do", "-s", str(size - 48))
    eventually_sync(lambda: ping(place, target, options=options), within_s=10)


def test_workloads_make_their_addresses_of_what_their_router_tells_them(dual: Site) -> None:
    for name in WHERE.keys() - {"vm66"}:
        (row,) = dual.nb("Logical_Switch_Port", "addresses", where=[f"name={name}"])
        assert address6(dual, name) == str(row["addresses"]).split(" ")[-1]
        assert dual.api.get(f"/v1/objects/Port/{name}")["addresses6"] == [address6(dual, name)]
    assert dual.api.get("/v1/objects/Router/tenant")["addresses6"] == ["2001:db8:101::9"]


def test_every_way_in_and_out(dual: Site) -> None:
    inside = address6(dual, "vm61")
    reaches(workload(dual, "vm61"), OUTSIDE6)
    reaches(dual.outside, inside)
    reaches(workload(dual, "vm61"), address6(dual, "vm62"))
    reaches(dual.outside, FLOATING6)
    with dual.capture("outside", "eth0", "icmp6") as seen:
        reaches(workload(dual, "vm62"), OUTSIDE6)
        reaches(workload(dual, "vm61"), OUTSIDE6)
        for source in (FLOATING6, inside):
            eventually_sync(lambda source=source: seen.matching(f" {source} > {OUTSIDE6}: .*echo request"), within_s=10)
    with dual.capture("outside", f"vlan{VLAN}", "icmp6") as seen:
        reaches(workload(dual, "vm63"), FAR)
        eventually_sync(lambda: seen.matching(f" 2001:db8:101::9 > {FAR}: .*echo request"), within_s=10)
    assert not seen.matching("fd00:63:")


def test_dhcpv6_tells_addresses_and_dns_servers(dual: Site) -> None:
    told = ask_dhcpv6(dual, "vm63", INFORMATION)
    assert (told["dns"], told["addresses"]) == (DNS6, [])
    given = dual.api.get("/v1/objects/Port/vm66")["addresses6"]
    told = ask_dhcpv6(dual, "vm66", SOLICIT)
    assert (told["dns"], told["addresses"]) == (DNS6, given)
    shown = workload(dual, "vm66").run(["ip", "-6", "address", "show", "dev", "eth0", "scope", "global"], timeout_s=10)
    assert not shown.stdout, "it is told, and makes none"
    workload(dual, "vm66").run(["ip", "-6", "address", "add", f"{given[0]}/128", "dev", "eth0", "nodad"]).checked()
    reaches(workload(dual, "vm66"), address6(dual, "vm61"))


def ask_dhcpv6(site: Site, name: str, message: int) -> dict[str, list[str]]:
    """What a workload that asks by DHCPv6 (RFC 8415) is answered."""

    def answer() -> str:
        return workload(site, name).run(["python3", "-c", DHCPV6, str(message)], timeout_s=10).stdout

    found: dict[str, list[str]] = json.loads(eventually_sync(answer, within_s=15))
    return found


def test_a_route_leads_to_what_is_behind_a_workload(dual: Site) -> None:
    place = workload(dual, "vm61")
    place.run(["ip", "-6", "address", "add", f"{BEHIND}/128", "dev", "lo"], timeout_s=10).checked()
    reaches(workload(dual, "vm62"), BEHIND)
    reaches(dual.outside, BEHIND)


def test_a_load_balancer_leads_to_workloads_by_ipv6(dual: Site) -> None:
    with contextlib.ExitStack() as stack:
        for name in ("vm61", "vm62"):
            started = workload(dual, name).popen(["python3", "-c", SERVER, name], start_new_session=True)
            stack.callback(started.wait, timeout=10)
            stack.callback(os.killpg, started.pid, signal.SIGKILL)
        for place in (dual.outside, workload(dual, "vm64")):

            def served(place: Node | Workload = place) -> bool:
                return set(place.run(["python3", "-c", CLIENT, BALANCED6], timeout_s=30).stdout.split()) == {
                    "vm61",
                    "vm62",
                }

            eventually_sync(served, within_s=20)


def test_a_distributed_address_leaves_on_its_workloads_own_host(dual: Site) -> None:
    mac = dual.api.get("/v1/objects/FloatingIP/own6")["assigned"]["mac"]
    with dual.capture("n2", "eth1", "icmp6") as seen:
        reaches(dual.outside, DISTRIBUTED6)
        eventually_sync(lambda: seen.matching(f"{mac} > ", f" {DISTRIBUTED6} > {OUTSIDE6}: .*echo reply"), within_s=10)


def test_full_frames_pass_where_there_is_no_tunnel(dual: Site) -> None:
    reaches(workload(dual, "vm65"), OUTSIDE6, size=1500)
    reaches(dual.outside, address6(dual, "vm65"), size=1500)


def test_what_is_too_big_is_answered_with_the_size_that_fits(dual: Site) -> None:
    inside = address6(dual, "vm61")
    reaches(dual.outside, inside, size=1442)
    with dual.capture("outside", "eth0", "icmp6 and ip6[40]==2") as seen:
        eventually_sync(
            lambda: ping(dual.outside, inside, options=("-6", "-M", "do", "-s", "1452")) or seen.lines, within_s=10
        )
        eventually_sync(lambda: seen.matching("packet too big, mtu 1442"), within_s=5)


@pytest.fixture
def at_home(dual: Site) -> Iterator[Site]:
    """The same, with r1 at home again after the test."""
    home = dual.active("r1")
    yield dual
    eventually_sync(lambda: dual.cli("gateway", "move", "r1", "--to", home, "--wait").status == 0, within_s=40)


async def test_each_address_is_announced_at_once_and_repeatedly(at_home: Site) -> None:
    site, addresses = at_home, (router6(at_home, "r1"), FLOATING6)
    mac = site.api.get("/v1/objects/Router/r1")["assigned"]["mac"]
    before, after = site.active("r1"), site.standby("r1")
    sockets = [f"unix:{site.lab.node(name).path('/run/ovn/ovnsb_db.sock')}" for name in CENTRALS]
    out = ("-Q", "out", "icmp6", "and", "ip6[40]==136", "and", "ether", "src", mac, "and", "ether", "dst")
    async with GatewayWatch(sockets, "cr-r1_public") as watch:
        with (
            site.capture("outside", "eth0", *out[2:], "33:33:00:00:00:01") as seen,
            site.capture(before, "eth1", *out, "33:33:00:00:00:01") as loser,
        ):
            assert site.cli("gateway", "move", "r1", "--to", after, "--wait").status == 0
            claim = await watch.wait_for({after}, timeout_s=10)
            times: dict[str, list[float]] = {}

            def repeated() -> bool:
                for address in addresses:
                    found = seen.matching(f" {address} > ff02::1: .*neighbor advertisement, .*tgt is {address}")
                    times[address] = [seconds_of(line) - claim.at_ns / 1e9 for line in found]
                return all(len([at for at in found if at < 2.5]) >= REPEATED for found in times.values())

            await eventually(repeated, within_s=10)
            print("announced after the claim, s", times)  # noqa: T201 - `pytest -rP` shows it
            late = [line for line in loser.lines if seconds_of(line) > claim.at_ns / 1e9 + HANDED_OVER_S]
    assert all(found[0] < FIRST_WITHIN_S for found in times.values()), times
    assert late == []


def test_a_neighbor_that_had_another_address_learns_from_an_announcement(at_home: Site) -> None:
    """As after the router got another MAC address: what the outside believes is put right by the announcement alone."""
    site, wrong = at_home, "0a:00:00:00:de:ad"
    mac = site.api.get("/v1/objects/Router/r1")["assigned"]["mac"]
    site.outside.run(
        ["ip", "-6", "neigh", "replace", FLOATING6, "lladdr", wrong, "nud", "reachable", "dev", "br-trunk"],
        timeout_s=10,
    ).checked(subject="neigh")
    assert site.cli("gateway", "move", "r1", "--to", site.standby("r1"), "--wait").status == 0

    def believed() -> str:
        argv = ["ip", "-6", "neigh", "show", FLOATING6, "dev", "br-trunk"]
        return site.outside.run(argv, timeout_s=10).stdout

    eventually_sync(lambda: mac in believed(), within_s=5)


def test_a_mac_address_without_ipv4_is_announced_by_rarp(dual: Site) -> None:
    """Ovenbird's own routers always have IPv4; a router that others made may have none."""
    site, gateway = dual, dual.active("r1")
    words = f"""
    lr-add foreign -- lrp-add foreign foreign_out {FOREIGN_MAC} 2001:db8::66/64
    -- lrp-set-gateway-chassis foreign_out {gateway} 20
    -- lsp-add public out_foreign -- lsp-set-type out_foreign router -- lsp-set-addresses out_foreign router
    -- lsp-set-options out_foreign router-port=foreign_out nat-addresses=router
    """.split()
    with site.capture("outside", "eth0", "ether", "proto", "0x8035", "and", "ether", "src", FOREIGN_MAC) as seen:
        try:
            site.central().run(["ovn-nbctl", *nb_remotes(site), *words], timeout_s=20).checked(subject="ovn-nbctl")
            eventually_sync(lambda: len(seen.lines) >= REPEATED, within_s=10)
        finally:
            undo = ["lsp-del", "out_foreign", "--", "lr-del", "foreign"]
            site.central().run(["ovn-nbctl", *nb_remotes(site), *undo], timeout_s=20).checked(subject="ovn-nbctl")
    assert all("> ff:ff:ff:ff:ff:ff" in line for line in seen.lines)
    # OVN sends five as well, the last one half a minute after the first.
    assert seconds_of(seen.lines[REPEATED - 1]) - seconds_of(seen.lines[0]) < 10


def nb_remotes(site: Site) -> list[str]:
    servers = ",".join(f"tcp:{site.lab.node(name).spec.address}:6641" for name in CENTRALS)
    return [f"--db={servers}", "--timeout=15"]


def test_another_gateway_takes_over(dual: Site, breakable: Site) -> None:
    site, inside = breakable, address6(dual, "vm61")
    active, standby = site.active("r1"), site.standby("r1")
    for place, target in ((workload(dual, "vm61"), OUTSIDE6), (site.outside, inside), (site.outside, FLOATING6)):
        reaches(place, target)
    PowerOff(lab=site.lab, node=active).inject()
    for place, target in ((workload(dual, "vm61"), OUTSIDE6), (site.outside, inside), (site.outside, FLOATING6)):
        reaches(place, target)
    eventually_sync(lambda: site.active("r1") == standby, within_s=20)


def found_by(site: Site, gateway: str, physnet: str = "ext") -> dict[str, str]:
    """What a gateway's agent says of the next hops: "next hop of NETWORK" -> state."""
    told = site.facts(gateway)["fitness"]["physnets"][physnet]
    return {what: one["state"] for what, one in told.items() if what.startswith("next hop")}


def test_a_gateway_that_does_not_reach_the_ipv6_next_hop_loses_its_routers(dual: Site, breakable: Site) -> None:
    site, good = breakable, {f"next hop of {name}" for name in ("public", "tenant-uplink")}
    good |= {f"{name} by IPv6" for name in good}
    for gateway in GATEWAYS:
        eventually_sync(lambda gateway=gateway: found_by(site, gateway) == dict.fromkeys(good, "ok"), within_s=10)
    active, standby = site.active("r1"), site.standby("r1")
    shown = site.lab.node(active).run(["cat", "/sys/class/net/br-ext/address"], timeout_s=10).checked().stdout
    # Its IPv4 goes on.
    with site.unheard(f"ether saddr {shown.strip()} icmpv6 type nd-neighbor-solicit"):
        eventually_sync(lambda: site.active("r1") == standby, within_s=15)
        state = {"next hop of public": "ok", "next hop of public by IPv6": "bad"}
        eventually_sync(lambda: state.items() <= found_by(site, active).items(), within_s=5)
    reaches(workload(dual, "vm61"), OUTSIDE6)
    # Nobody's router has learnt who asked.
    assert not [row for row in site.sb("MAC_Binding", "mac", "ip") if row["mac"] == shown.strip()]
