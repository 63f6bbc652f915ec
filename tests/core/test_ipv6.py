"""IPv6 beside IPv4: what may be declared, what comes of it, and what else it touches."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv6Address

import pytest
from tests.core.samples import BLUE, CONTEXT, FIP1, FIP2, PUBLIC, R1, SAMPLE, VM1, VM2, declared
from tests.core.test_admission import BASE, applied, ask, refused

from ovenbird.host.arp_probe import Target, reply, request
from ovenbird.host.icmpv6 import unsolicited_advertisement
from ovenbird.model.addresses6 import (
    derived_address6,
    is_for_hosts,
    is_within,
    parse_address6,
    parse_next_hop6,
    parse_prefix6,
    router_address6,
)
from ovenbird.model.objects import Declared, Key, Route, Router, RouterExternal
from ovenbird.plan.announcing import Announcement, Binding, announcements
from ovenbird.plan.compile import compile_object
from ovenbird.plan.dirty import dirty
from ovenbird.plan.inventory import Inventory
from ovenbird.plan.rows import ANNOUNCED6, NbRow
from ovenbird.plan.transit import TRANSIT6

PUBLIC6, BLUE6 = "2001:db8::/64", "fd00:1::/64"


def changed(item: Declared, **spec: object) -> Declared:
    return replace(item, spec=item.spec.model_copy(update=spec))


PUBLIC_6 = changed(PUBLIC, cidr6=PUBLIC6, gateway6="fe80::1")
BLUE_6 = changed(BLUE, cidr6=BLUE6)
FIP1_6, FIP2_6 = changed(FIP1, address6="2001:db8::101"), changed(FIP2, address6="2001:db8::102")
R1_6 = changed(R1, external=RouterExternal(network="public", snat6=True))
DUAL = {each.key: each for each in (*SAMPLE, PUBLIC_6, BLUE_6, FIP1_6, FIP2_6, R1_6)}
R1_ADDRESS, VM1_ADDRESS = "2001:db8::800:ff:fe00:1", "fd00:1::800:ff:fe00:11"


def rows(key: Key, objects: dict[Key, Declared] = DUAL) -> tuple[NbRow, ...]:
    return compile_object(key, Inventory(objects.values()), CONTEXT)


def named(found: Iterable[NbRow], name: str) -> NbRow:
    return next(row for row in found if row.columns.get("name") == name)


# Addresses.


def test_an_address_follows_from_a_prefix_and_a_mac() -> None:
    # RFC 4291 appendix A: 34-56-78-9A-BC-DE with the bit for "universal" turned.
    assert derived_address6("2001:db8::/64", "34:56:78:9a:bc:de") == "2001:db8::3656:78ff:fe9a:bcde"
    assert router_address6("2001:db8:0:7::/64") == "2001:db8:0:7::1"
    assert is_within("2001:db8:0:7::1", "2001:db8:0:7::/64")
    assert not is_within("2001:db8:0:8::1", "2001:db8:0:7::/64")


def test_only_what_does_not_follow_from_a_mac_may_be_chosen() -> None:
    assert is_for_hosts("2001:db8::1")
    assert not is_for_hosts("2001:db8::")
    assert not is_for_hosts(derived_address6("2001:db8::/64", "0a:00:00:00:00:01"))


def test_text_becomes_canonical() -> None:
    assert parse_prefix6("2001:0DB8:0:0::/64") == "2001:db8::/64"
    assert parse_address6("FD00:0:0:1::A") == "fd00:0:0:1::a"
    assert parse_next_hop6("FE80::1") == "fe80::1"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("10.0.0.0/24", "not an IPv6 network"),
        ("2001:db8::", "prefix length must be 64"),
        ("2001:db8::/48", "prefix length must be 64"),
        ("2001:db8::5/64", "the network of that address is 2001:db8::/64"),
        ("fe80::/64", "not for networks of hosts"),
        ("ff02::/64", "not for networks of hosts"),
        ("::/64", "not for networks of hosts"),
    ],
)
def test_a_prefix_that_hosts_cannot_have_is_explained(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_prefix6(text)


@pytest.mark.parametrize("text", ["10.0.0.1", "fe80::1", "::1", "ff02::1", "::ffff:10.0.0.1", "fe80::1%eth0"])
def test_an_address_that_hosts_cannot_have_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"IPv6 address|no address of a host|leave out the zone"):
        parse_address6(text)


# Admission.

SIX = BASE.replace("gateway: 172.16.0.254", f'gateway: 172.16.0.254, cidr6: "{PUBLIC6}", gateway6: "2001:db8::fe"')
SIX = SIX.replace("router: r1}", f'router: r1, cidr6: "{BLUE6}"}}')
FLOATING = "{{kind: FloatingIP, name: {name}, spec: {{network: public, port: {port}, address6: '{address}'}}}}"
VM2_TEXT = "{kind: Port, name: vm2, spec: {network: blue}}\n---\n"
PINNED = "{kind: Router, name: r1, spec: {external: {network: public}, gateways: {mode: gateway-router}}}"


def routed(*hops: str, to: str = "2001:db8:7::/48", external: str = "{network: public}") -> str:
    routes = ", ".join(f"{{to: '{to}', via: '{hop}'}}" for hop in hops)
    return f"{{kind: Router, name: r1, spec: {{external: {external}, routes: [{routes}]}}}}"


def test_ipv6_is_added_to_what_is_there_without_moving_an_address() -> None:
    before = applied(BASE)
    changes = {change.key: change for change in ask(before, SIX).changes}
    assert {key for key, change in changes.items() if change.action == "update"} == {
        Key("ExternalNetwork", "public"),
        Key("Network", "blue"),
    }
    for change in changes.values():
        assert change.old and change.new and change.old.assigned == change.new.assigned


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (FLOATING.format(name="f1", port="vm1", address="2001:db8:1::5"), "2001:db8:1::5 is outside"),
        (FLOATING.format(name="f1", port="vm1", address="2001:db8::fe"), "already used by ExternalNetwork/public"),
        (FLOATING.format(name="f1", port="vm1", address="2001:db8::aff:ff:fe00:1"), "may not be chosen"),
        (VM2_TEXT + FLOATING.format(name="f2", port="vm2", address="2001:db8::7"), "already used by FloatingIP/f7"),
        ("{kind: Router, name: r1, spec: {external: {network: public, address6: '2001:db8::7'}}}", "by FloatingIP/f7"),
        (
            PINNED
            + f"\n---\n{{kind: Network, name: red, spec: {{cidr: 10.0.0.0/24, router: r1, cidr6: '{TRANSIT6}'}}}}",
            "is what Router/r1 needs between itself and its gateway routers",
        ),
        (routed("fd00:1::9", to="10.0.0.0/8"), "one is IPv4, the other IPv6"),
        (routed("fd00:9::9"), "route via fd00:9::9 leads nowhere"),
        (routed("fe80::9"), "'fe80::9' is no address of a host in a network"),
        (routed("fd00:1::1"), "is Router/r1's own address"),
        (routed("2001:db8::aa", external="{network: public, address6: '2001:db8::aa'}"), "is Router/r1's own address"),
        (routed("fd00:1::9", to="::/0"), "already leads to the external network's gateway6 2001:db8::fe"),
        (routed("fd00:1::9", to="2001:db8:7::5/64"), "the network of that address is 2001:db8:7::/64"),
        (routed("fd00:1::9", to="fe80::/64"), "is not routed"),
        (routed("fd00:1::9", "fd00:1::9"), "is given twice"),
        (f"{{kind: Network, name: red, spec: {{cidr: 10.0.0.0/24, router: r1, cidr6: '{BLUE6}'}}}}", "both are on"),
        (
            f"{{kind: ExternalNetwork, name: other, spec: {{physnet: ext, cidr: 10.9.0.0/24, cidr6: '{PUBLIC6}'}}}}",
            "both are on physnet 'ext' untagged",
        ),
        ("{kind: Network, name: blue, spec: {cidr: 192.168.1.0/24, router: r1}}", "has no IPv6 address"),
        (
            "{kind: ExternalNetwork, name: public, spec: {physnet: ext, cidr: 172.16.0.0/24}}",
            "ExternalNetwork/public has no IPv6 addresses",
        ),
        (
            "{kind: Network, name: red, spec: {cidr: 10.0.0.0/24, dns6: ['fd00::53']}}",
            "dns6 has no meaning without cidr6",
        ),
        (
            "{kind: ExternalNetwork, name: e, spec: {physnet: dmz, cidr: 10.9.0.0/24, gateway6: 'fe80::1'}}",
            "gateway6 has no meaning without cidr6",
        ),
        (
            f"{{kind: ExternalNetwork, name: e, spec: {{physnet: dmz, cidr: 10.9.0.0/24, cidr6: '{BLUE6}',"
            " gateway6: '2001:db8::1'}}",
            "is outside",
        ),
    ],
)
def test_what_cannot_work_is_refused_with_the_reason(text: str, words: str) -> None:
    seven = "{kind: Port, name: vm7, spec: {network: blue}}\n---\n" + FLOATING.format(
        name="f7", port="vm7", address="2001:db8::7"
    )
    problems = refused(applied(SIX, seven), text)
    assert any(words in problem.message for problem in problems), problems


def test_what_nobody_would_ask_for_is_warned_of() -> None:
    text = "{{kind: Network, name: n, spec: {{cidr: 10.0.0.0/24, cidr6: 'fd00:2::/64', dns6: ['fd00::53']{}}}}}"
    (warning,) = ask(applied(SIX), text.format("")).warnings
    assert "without a router nobody tells workloads to ask" in warning.message
    assert not ask(applied(SIX), text.format(", router: r1")).warnings


def test_a_route_is_lost_with_the_prefix_that_its_next_hop_is_in() -> None:
    base = applied(SIX, routed("fd00:1::9"))
    (problem,) = refused(base, "{kind: Network, name: blue, spec: {cidr: 192.168.1.0/24, router: r1}}")
    assert "route via fd00:1::9 leads nowhere" in problem.message


# Compile.


def test_a_router_has_its_address_its_way_out_and_says_what_to_announce() -> None:
    found = rows(R1.key)
    assert named(found, "r1_public").columns["networks"] == {"172.16.0.1/24", f"{R1_ADDRESS}/64"}
    routes = [row.columns for row in found if row.table == "Logical_Router_Static_Route"]
    assert {(row["ip_prefix"], row["nexthop"], row["output_port"]) for row in routes} == {
        ("0.0.0.0/0", "172.16.0.254", "r1_public"),
        ("::/0", "fe80::1", "r1_public"),
    }
    # The distributed one is announced by nobody here: its own MAC address is announced with its IPv4 address.
    announced = named(found, "public_to_r1").columns["external_ids"][ANNOUNCED6]
    assert announced == f"0a:00:00:00:00:01 {R1_ADDRESS} 2001:db8::102"


def test_a_declared_router_address_takes_the_place_of_the_derived_one() -> None:
    chosen = changed(R1, external=RouterExternal(network="public", address6="2001:db8::9", snat6=True))
    objects = {**DUAL, R1.key: chosen}
    assert "2001:db8::9/64" in named(rows(R1.key, objects), "r1_public").columns["networks"]
    assert ("2001:db8::9", BLUE6) in {
        (row.columns["external_ip"], row.columns["logical_ip"]) for row in rows(BLUE.key, objects) if row.table == "NAT"
    }


def test_a_network_tells_its_prefix_and_is_translated_only_if_asked() -> None:
    found = rows(BLUE.key)
    port = named(found, "r1_blue").columns
    assert port["networks"] == {"192.168.1.1/24", "fd00:1::1/64"}
    assert port["ipv6_ra_configs"]["address_mode"] == "slaac"
    assert port["ipv6_ra_configs"]["mtu"] == "1442"
    translated = {(row.columns["external_ip"], row.columns["logical_ip"]) for row in found if row.table == "NAT"}
    assert translated == {("172.16.0.1", "192.168.1.0/24"), (R1_ADDRESS, BLUE6)}
    plain = rows(BLUE.key, {**DUAL, R1.key: R1})
    assert len([row for row in plain if row.table == "NAT"]) == 1
    assert named(rows(BLUE.key, {each.key: each for each in SAMPLE}), "r1_blue").columns["ipv6_ra_configs"] == {}


@pytest.mark.parametrize(
    ("told", "mode", "options"),
    [
        ({}, "slaac", None),
        ({"dns6": ("fd00::53", "fd00::54")}, "dhcpv6_stateless", {"dhcpv6_stateless": "true"}),
        ({"dns6": ("fd00::53", "fd00::54"), "dhcp6": True}, "dhcpv6_stateful", {}),
    ],
)
def test_what_workloads_are_told_by_dhcpv6(told: dict[str, object], mode: str, options: dict[str, str] | None) -> None:
    objects = {**DUAL, BLUE.key: changed(BLUE_6, **told)}
    found = rows(BLUE.key, objects)
    advertised = named(found, "r1_blue").columns["ipv6_ra_configs"]
    assert (advertised["address_mode"], advertised.get("rdnss")) == (mode, "fd00::53" if told else None)
    six = next((row for row in found if row.table == "DHCP_Options" and row.columns["cidr"] == BLUE6), None)
    (port,) = rows(VM1.key, objects)
    assert port.columns["dhcpv6_options"] == (six.uuid if six else None)
    if options is None:
        assert six is None
        return
    mac = named(found, "r1_blue").columns["mac"]
    assert six and six.columns["options"] == {"server_id": mac, "dns_server": "{fd00::53, fd00::54}", **options}
    old, new = Inventory(DUAL.values()), Inventory(objects.values())
    assert dirty([BLUE.key], old, new) >= {BLUE.key, VM1.key, VM2.key}
    (plain,) = rows(VM1.key, {each.key: each for each in SAMPLE})
    assert "dhcpv6_options" not in plain.columns


def test_a_workload_may_use_the_address_that_it_will_make() -> None:
    (port,) = rows(VM1.key)
    assert port.columns["addresses"] == {f"0a:00:00:00:00:11 192.168.1.11 {VM1_ADDRESS}"}
    assert port.columns["port_security"] == port.columns["addresses"]


def test_a_floating_ip_leads_to_both_addresses_in_the_same_way() -> None:
    one, two = (row.columns for row in rows(FIP1.key) if row.table == "NAT")
    assert (two["external_ip"], two["logical_ip"]) == ("2001:db8::101", VM1_ADDRESS)
    same = ("type", "external_mac", "logical_port", "options", "external_ids")
    assert [one[name] for name in same] == [two[name] for name in same]


def test_a_route_leads_on_through_a_network_behind_the_router() -> None:
    hops = (Route(to="2001:db8:9::/48", via="fd00:1::9"), Route(to="::/0", via="2001:db8::fd"))
    found = rows(R1.key, {**DUAL, R1.key: changed(R1_6, routes=hops)})
    six = [row.columns for row in found if ":" in row.columns.get("ip_prefix", "")]
    assert {(row["ip_prefix"], row["nexthop"]) for row in six} == {(hop.to, hop.via) for hop in hops}


@pytest.mark.parametrize(
    ("item", "without"),
    [(PUBLIC_6, PUBLIC), (BLUE_6, BLUE), (FIP1_6, FIP1), (FIP2_6, FIP2), (R1_6, R1)],
    ids=lambda item: item.name,
)
def test_whatever_depends_on_a_change_is_compiled_again(item: Declared, without: Declared) -> None:
    gone = Inventory(each for each in DUAL.values() if each.key != item.key)
    both = Inventory(DUAL.values())
    plain = Inventory({**DUAL, item.key: without}.values())
    other_mac = Inventory(
        {**DUAL, item.key: replace(item, assigned=replace(item.assigned, mac="0a:00:00:00:00:99"))}.values()
    )
    for other in (gone, plain, other_mac):
        for old, new in ((both, other), (other, both)):
            found = dirty([item.key], old, new)
            differ = {key for key in DUAL if compile_object(key, old, CONTEXT) != compile_object(key, new, CONTEXT)}
            assert differ <= found


def test_a_port_that_goes_elsewhere_takes_its_announcement_along() -> None:
    both = Inventory(DUAL.values())
    moved = Inventory({**DUAL, VM2.key: changed(VM2, network="nowhere")}.values())
    assert R1.key in dirty([VM2.key], both, moved)
    assert "2001:db8::102" not in str(compile_object(R1.key, moved, CONTEXT))


# Announcements.


def test_what_compile_names_is_announced_beside_what_ovn_names() -> None:
    found = announcements(
        [
            Binding(logical_port="public_localnet", type="localnet", datapath="d1", physnet="ext", vlan=7),
            Binding(
                logical_port="public_to_r1",
                type="patch",
                datapath="d1",
                nat_addresses=frozenset(
                    (
                        '0a:00:00:00:00:01 172.16.0.1 is_chassis_resident("cr-r1_public")',
                        f"0a:00:00:00:00:01 {R1_ADDRESS}",
                    )
                ),
            ),
        ]
    )
    assert found == {
        Announcement("public_localnet", "ext", 7, "0a:00:00:00:00:01", address)
        for address in ("172.16.0.1", R1_ADDRESS)
    }


def test_a_router_is_the_same_with_or_without_the_default_of_its_fields() -> None:
    assert Router.model_validate({"external": {"network": "public", "snat6": False}}) == R1.spec
    assert declared("r1", Router(external=RouterExternal(network="public", address6=None))).spec == R1.spec


# Probes.


def test_a_solicitation_is_an_ordinary_question_of_one_host() -> None:
    mac, hop = bytes.fromhex("0a0000000001"), bytes.fromhex("0200000000fe")
    frame = request(Target("2001:db8::12:3456", vlan=7), mac)
    # To the solicited-node group of the address (RFC 4291 section 2.7.1), from the link-local address of this MAC.
    assert frame[:18] == bytes.fromhex("3333ff123456") + mac + bytes.fromhex("8100000786dd")
    packet = frame[18:]
    assert packet[6:8] == bytes((58, 255))
    assert IPv6Address(packet[8:24]) == IPv6Address("fe80::800:ff:fe00:1")
    assert IPv6Address(packet[24:40]) == IPv6Address("ff02::1:ff12:3456")
    assert IPv6Address(packet[48:64]) == IPv6Address("2001:db8::12:3456")
    assert packet[64:] == b"\1\1" + mac
    total = sum(struct.unpack("!36H", packet[8:40] + struct.pack("!II", len(packet) - 40, 58) + packet[40:]))
    assert (total & 0xFFFF) + (total >> 16) == 0xFFFF
    # One whose hardware address is known is asked alone.
    known = request(Target("2001:db8::fe"), mac, hop)
    assert known[:6] == hop
    assert IPv6Address(known[38:54]) == IPv6Address("2001:db8::fe")


def test_an_answer_names_its_address_and_only_a_whole_one_of_this_link_counts() -> None:
    mac, own = bytes.fromhex("0a0000000001"), IPv6Address("2001:db8::fe").packed
    answer = unsolicited_advertisement(mac, own)
    found = reply(answer, vlan=7)
    assert found is not None and (found.who, found.mac) == (Target("2001:db8::fe", 7), mac)
    passed_on = answer[:21] + b"\xfe" + answer[22:]
    assert reply(passed_on) is None, "its hop limit says that it came over a router"
    assert reply(answer[:70]) is None
    assert reply(request(Target("2001:db8::fe"), mac)) is None, "a question"
