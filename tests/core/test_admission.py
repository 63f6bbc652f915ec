"""Admission: each rule, with the line that it points at; what is assigned; what may be deleted."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from ovenbird.model.documents import parse_documents
from ovenbird.model.errors import Problem, Refused, UserError
from ovenbird.model.objects import Declared, Key
from ovenbird.plan.admission import admit, admit_delete
from ovenbird.plan.change import Admission
from ovenbird.plan.inventory import Inventory

BASE = """\
kind: ExternalNetwork
name: public
spec: {physnet: ext, cidr: 172.16.0.0/24, gateway: 172.16.0.254, pool: [172.16.0.100-172.16.0.109]}
---
kind: Router
name: r1
spec: {external: {network: public}}
---
kind: Network
name: blue
spec: {cidr: 192.168.1.0/24, router: r1}
---
kind: Port
name: vm1
spec: {network: blue, address: 192.168.1.11, mac: 0a:00:00:00:00:11}
---
kind: FloatingIP
name: f1
spec: {network: public, port: vm1, address: 172.16.0.101}
"""


def ask(base: Inventory, text: str, revision: int = 7) -> Admission:
    documents = parse_documents(text, "f.yaml")
    return admit(base, documents, physnets=frozenset({"ext", "dmz"}), underlay_mtu=1500, revision=revision)


def applied(*texts: str) -> Inventory:
    inventory = Inventory()
    for revision, text in enumerate(texts, start=1):
        for change in ask(inventory, text, revision).changes:
            assert change.new
            inventory.put(change.new)
    return inventory


def refused(base: Inventory, text: str) -> tuple[Problem, ...]:
    before = list(base)
    with pytest.raises(UserError) as caught:
        ask(base, text)
    assert list(base) == before
    assert caught.value.code == "bad_input"
    return caught.value.problems


def the(base: Inventory, kind: str, name: str) -> Declared:
    declared = base.get(Key(kind, name))
    assert declared
    return declared


def document(kind: str, name: str, *fields: str) -> str:
    return "\n".join([f"kind: {kind}", f"name: {name}", "spec:", *(f"  {field}" for field in fields)]) + "\n"


BROKEN = [
    ("a missing network", document("Port", "p", "network: bleu"), 4, "Network/bleu does not exist", "'blue'"),
    ("a missing router", document("Network", "n", "cidr: 10.0.0.0/24", "router: r2"), 5, "Router/r2 does not", "r1"),
    (
        "a missing external network",
        document("Router", "r", "external:", "  network: publik"),
        5,
        "does not",
        "'public'",
    ),
    ("a missing port", document("FloatingIP", "f", "network: public", "port: wm1"), 5, "Port/wm1 does not", "'vm1'"),
    ("an FIP's missing network", document("FloatingIP", "f", "network: x", "port: vm2"), 4, "ExternalNetwork/x", ""),
    (
        "an unknown physnet",
        document("ExternalNetwork", "e", "physnet: exd", "cidr: 10.0.0.0/24"),
        4,
        "unknown physnet 'exd'; hosts have uplinks to: dmz, ext",
        "'ext'",
    ),
    (
        "a pool outside",
        document("ExternalNetwork", "e", "physnet: ext", "cidr: 10.0.0.0/24", "pool:", "- 10.0.0.9-10.0.1.9"),
        7,
        "reaches outside 10.0.0.0/24",
        "10.0.0.1-10.0.0.254",
    ),
    (
        "a gateway outside",
        document("ExternalNetwork", "e", "physnet: ext", "cidr: 10.0.0.0/24", "gateway: 10.0.1.1"),
        6,
        "10.0.1.1 is outside the network (10.0.0.0/24)",
        "10.0.0.1-10.0.0.254",
    ),
    (
        "a network's gateway outside",
        document("Network", "n", "cidr: 10.0.0.0/24", "gateway: 10.9.0.1"),
        5,
        "outside",
        "",
    ),
    ("a broadcast gateway", document("Network", "n", "cidr: 10.0.0.0/24", "gateway: 10.0.0.255"), 5, "broadcast", ""),
    ("a huge MTU", document("Network", "n", "cidr: 10.0.0.0/24", "mtu: 1443"), 5, "underlay's 1500", "at most 1442"),
    (
        "an address outside",
        document("Port", "p", "network: blue", "address: 192.168.2.5"),
        5,
        "outside Network/blue",
        "",
    ),
    ("the network address", document("Port", "p", "network: blue", "address: 192.168.1.0"), 5, "network address", ""),
    ("the broadcast", document("Port", "p", "network: blue", "address: 192.168.1.255"), 5, "broadcast address", ""),
    (
        "the gateway's address",
        document("Port", "p", "network: blue", "address: 192.168.1.1"),
        5,
        "192.168.1.1 is the gateway of Network/blue",
        "another address",
    ),
    ("a used address", document("Port", "p", "network: blue", "address: 192.168.1.11"), 5, "used by Port/vm1", ""),
    ("a used MAC", document("Port", "p", "network: blue", "mac: 0A:00:00:00:00:11"), 5, "used by Port/vm1", "unique"),
    (
        "an FIP's used address",
        document("FloatingIP", "f", "network: public", "port: vm2", "address: 172.16.0.101"),
        6,
        "already used by FloatingIP/f1",
        "",
    ),
    (
        "the router's address",
        document("FloatingIP", "f", "network: public", "port: vm2", "address: 172.16.0.100"),
        6,
        "already used by Router/r1",
        "",
    ),
    (
        "the external gateway",
        document("Router", "r", "external:", "  network: public", "  address: 172.16.0.254"),
        6,
        "is the gateway of ExternalNetwork/public",
        "",
    ),
    (
        "two routers, one address",
        document("Router", "r", "external:", "  network: public", "  address: 172.16.0.100"),
        6,
        "already used by Router/r1",
        "",
    ),
    (
        "outside the pool",
        document("FloatingIP", "f", "network: public", "port: vm2", "address: 172.16.0.99"),
        6,
        "outside the pool of ExternalNetwork/public",
        "172.16.0.100-172.16.0.109",
    ),
    (
        "a second FIP for a port",
        document("FloatingIP", "f", "network: public", "port: vm1"),
        5,
        "Port/vm1 already has FloatingIP/f1",
        "at most one",
    ),
    (
        "an FIP without a router",
        document("FloatingIP", "f", "network: public", "port: alone1"),
        5,
        "Port/alone1 is in Network/alone, which is attached to no router",
        "set 'router' of Network/alone",
    ),
    (
        "an FIP behind another external network",
        document("FloatingIP", "f", "network: dmz", "port: vm2"),
        5,
        "Port/vm2 is behind Router/r1, which leads to 'public', not to 'dmz'",
        "from 'public'",
    ),
    (
        "an FIP behind a router that leads nowhere",
        document("FloatingIP", "f", "network: dmz", "port: inner1"),
        5,
        "Router/inner, which has no external network",
        "give Router/inner 'external'",
    ),
    (
        "overlapping networks on a router",
        document("Network", "n", "cidr: 192.168.0.0/16", "router: r1"),
        4,
        "192.168.0.0/16 overlaps Network/blue, 192.168.1.0/24; both are on Router/r1",
        "",
    ),
    (
        "a network over the router's external network",
        document("Network", "n", "cidr: 172.16.0.0/16", "router: r1"),
        4,
        "overlaps ExternalNetwork/public",
        "",
    ),
    (
        "overlapping external networks",
        document("ExternalNetwork", "e", "physnet: ext", "cidr: 172.16.0.128/25"),
        5,
        "overlaps ExternalNetwork/public, 172.16.0.0/24; both are on physnet 'ext' untagged",
        "",
    ),
    (
        "a route to nowhere",
        document("Router", "r1", "external: {network: public}", "routes:", "- to: 10.0.0.0/8", "  via: 10.1.1.1"),
        7,
        "route via 10.1.1.1 leads nowhere",
        "Network/blue 192.168.1.0/24",
    ),
    (
        "a route to itself",
        document("Router", "r1", "external: {network: public}", "routes:", "- {to: 10.0.0.0/8, via: 192.168.1.1}"),
        6,
        "Router/r1's own address",
        "",
    ),
    (
        "a second default route",
        document("Router", "r1", "external: {network: public}", "routes:", "- {to: 0.0.0.0/0, via: 172.16.0.1}"),
        6,
        "default route already leads to the external network's gateway 172.16.0.254",
        "remove this route",
    ),
    (
        "the same route twice",
        document(
            "Router", "r1", "external: {network: public}", "routes:", *["- {to: 10.0.0.0/8, via: 172.16.0.1}"] * 2
        ),
        7,
        "given twice",
        "",
    ),
    # Changes that would break what is there already, by name.
    (
        "a cidr that leaves a port outside",
        document("Network", "alone", "dhcp: true", "cidr: 192.168.9.0/24"),
        5,
        "Port/alone1: 192.168.3.2 is outside Network/alone",
        "",
    ),
    (
        "a gateway on a port's address",
        document("Network", "alone", "cidr: 192.168.3.0/24", "gateway: 192.168.3.2"),
        5,
        "gateway 192.168.3.2 is already used by Port/alone1",
        "",
    ),
    (
        "taking away an FIP's router",
        document("Network", "blue", "cidr: 192.168.1.0/24"),
        3,
        "FloatingIP/f1: Port/vm1 is in Network/blue, which is attached to no router",
        "",
    ),
    ("taking away the outside", document("Router", "r1", "routes: []"), 3, "FloatingIP/f1: Port/vm1 is behind", ""),
    (
        "an external cidr that leaves a router outside",
        document("ExternalNetwork", "dmz", "physnet: dmz", "cidr: 10.77.0.0/24"),
        5,
        "Router/d: 10.66.0.1 is outside ExternalNetwork/dmz",
        "",
    ),
]
MORE = """
{kind: Network, name: alone, spec: {cidr: 192.168.3.0/24}}
---
{kind: Port, name: alone1, spec: {network: alone}}
---
{kind: Port, name: vm2, spec: {network: blue}}
---
{kind: ExternalNetwork, name: dmz, spec: {physnet: dmz, cidr: 10.66.0.0/24}}
---
{kind: Router, name: d, spec: {external: {network: dmz}}}
---
{kind: Router, name: inner, spec: {}}
---
{kind: Network, name: inner, spec: {cidr: 192.168.4.0/24, router: inner}}
---
{kind: Port, name: inner1, spec: {network: inner}}
"""


@pytest.fixture(scope="module")
def full() -> Inventory:
    return applied(BASE, MORE)


@pytest.mark.parametrize(("text", "line", "message", "hint"), [each[1:] for each in BROKEN], ids=[e[0] for e in BROKEN])
def test_a_broken_rule_is_explained_at_its_line(full: Inventory, text: str, line: int, message: str, hint: str):
    (problem,) = refused(full, text)
    assert message in problem.message
    assert hint in problem.hint
    assert (problem.file, problem.line) == ("f.yaml", line)


def test_both_kinds_of_network_share_their_names(full: Inventory):
    (problem,) = refused(full, "\nkind: Network\nname: public\nspec: {cidr: 10.9.0.0/24}\n")
    assert (problem.line, problem.message) == (4, "there is ExternalNetwork/public already")


def test_every_problem_of_a_file_is_reported_at_once(full: Inventory):
    # Documents that change the same object twice, or make another's mistake moot, would hide one another.
    texts, seen = [], set[str]()
    for at, (_, text, *_rest) in enumerate(BROKEN):
        kind, name = (line.split(": ")[1] for line in text.splitlines()[:2])
        if full.get(Key(kind, name)) is None:
            texts.append(text.replace(f"name: {name}\n", f"name: {name}-x{at}\n", 1))
            seen.add(f"{kind}/{name}-x{at}")
    found = refused(full, "---\n".join(texts))
    assert {f"{each.kind}/{each.name}" for each in found} == seen
    assert [each.line for each in found] == sorted(each.line for each in found)


def test_the_pool_is_exhausted_by_name():
    base = applied(
        "{kind: Network, name: n, spec: {cidr: 10.0.0.0/30}}\n---\n{kind: Port, name: a, spec: {network: n}}"
    )
    (problem,) = refused(base, document("Port", "b", "network: n"))
    assert problem.line == 3
    assert "no address is free in Network/n: all 2 of 10.0.0.1-10.0.0.2 are used" in problem.message


def test_what_is_assigned():
    base = applied(BASE)
    assert the(base, "Router", "r1").assigned.address == "172.16.0.100"
    assert the(base, "Network", "blue").assigned.address == "192.168.1.1"
    assert the(base, "Port", "vm1").assigned.mac == "0a:00:00:00:00:11"
    assert the(base, "FloatingIP", "f1").assigned.address == "172.16.0.101"
    macs = [each.assigned.mac for each in base if each.kind != "ExternalNetwork"]
    assert all(mac.startswith("0a:") for mac in macs)
    assert len(set(macs)) == 4
    assert the(base, "ExternalNetwork", "public").assigned.mac == ""


def test_free_addresses_are_taken_lowest_first_in_the_order_of_names():
    ports = "\n---\n".join(f"{{kind: Port, name: vm{at}, spec: {{network: n}}}}" for at in (10, 2, 1))
    used = "{kind: Port, name: zz, spec: {network: n, address: 10.0.0.3}}"
    base = applied(f"{{kind: Network, name: n, spec: {{cidr: 10.0.0.0/24}}}}\n---\n{ports}\n---\n{used}")
    assert [the(base, "Port", name).assigned.address for name in ("vm1", "vm2", "vm10")] == [
        "10.0.0.2",
        "10.0.0.4",
        "10.0.0.5",
    ]


def test_what_was_assigned_stays():
    base = applied(BASE, MORE)
    was = the(base, "Port", "vm2").assigned
    base.remove(Key("FloatingIP", "f1"))
    base.remove(Key("Port", "vm1"))
    (change,) = ask(base, document("Port", "vm2", "network: blue", "port_security: false"), revision=9).changes
    assert change.action == "update"
    assert change.new
    assert (change.new.assigned, change.new.revision) == (was, 9)
    assert change.to_json()["fields"] == {"port_security": [None, False]}


def test_a_port_that_moves_to_another_network_gets_an_address_there():
    base = applied(BASE, MORE)
    (change,) = ask(base, document("Port", "vm2", "network: alone")).changes
    assert change.new
    assert change.new.assigned.address == "192.168.3.3"
    assert change.fields["assigned.address"] == ("192.168.1.2", "192.168.3.3")


def test_an_address_is_given_anew_only_when_its_network_moved_away():
    base = applied(BASE.replace(", address: 172.16.0.101", "").replace("address: 192.168.1.11, ", ""))
    moved = (
        BASE.replace("192.168.1.0", "192.168.5.0")
        .replace("172.16.0.", "172.17.0.")
        .replace("{external:", "{gateways: {count: 2}, external:")
    )
    moved = moved.replace("address: 192.168.1.11,", "port_security: false,").replace(
        "address: 172.17.0.101", "distributed: true"
    )
    new = {str(change.key): change.new.assigned.address for change in ask(base, moved).changes if change.new}
    assert new["Router/r1"] == "172.17.0.100"
    assert new["Port/vm1"] == "192.168.5.2"
    assert new["FloatingIP/f1"] == "172.17.0.101"


def test_a_smaller_pool_takes_nobodys_address_away():
    base = applied(BASE.replace(", address: 172.16.0.101", ""))
    smaller = BASE.replace("172.16.0.100-", "172.16.0.105-").replace("address: 172.16.0.101", "distributed: true")
    smaller = smaller.replace("{external:", "{gateways: {count: 2}, external:")
    new = {str(change.key): change.new.assigned for change in ask(base, smaller).changes if change.new}
    for key in ("Router/r1", "FloatingIP/f1"):
        assert new[key] == the(base, *key.split("/")).assigned


def test_a_mac_stays_when_it_is_no_longer_asked_for():
    base = applied(BASE)
    (change,) = ask(base, document("Port", "vm1", "network: blue")).changes
    assert change.new
    assert change.new.assigned == the(base, "Port", "vm1").assigned


def test_two_ports_swap_their_addresses_in_one_file():
    one = "{kind: Port, name: a, spec: {network: blue, address: 192.168.1.21}}"
    two = "{kind: Port, name: b, spec: {network: blue, address: 192.168.1.22}}"
    swapped = f"{one.replace('1.21', '1.22')}\n---\n{two.replace('1.22', '1.21')}"
    base = applied(BASE, f"{one}\n---\n{two}", swapped)
    assert the(base, "Port", "a").assigned.address == "192.168.1.22"
    assert base.address_owner(Key("Network", "blue"), "192.168.1.21") == Key("Port", "b")


def test_a_network_moves_with_all_its_ports_in_one_file():
    base = applied(BASE)
    moved = BASE.replace("192.168.1.", "192.168.5.")
    actions = {str(change.key): change.action for change in ask(base, moved).changes}
    assert actions["Network/blue"] == actions["Port/vm1"] == "update"
    assert actions["FloatingIP/f1"] == "unchanged"


def test_the_same_again_changes_nothing():
    base = applied(BASE)
    again = ask(base, BASE)
    assert not again
    assert [change.action for change in again.changes] == ["unchanged"] * 5
    assert [change.new.revision for change in again.changes if change.new] == [1] * 5


def test_the_later_of_two_claimants_in_one_file_is_told_where_the_first_is():
    text = "\n---\n".join(
        f"{{kind: Port, name: {name}, spec: {{network: blue, address: 192.168.1.5}}}}" for name in "ba"
    )
    (problem,) = refused(applied(BASE), text)
    assert problem.render().startswith("f.yaml:3: Port/a: 192.168.1.5 is already used by Port/b (line 1)")


def test_the_same_object_in_two_files_is_refused():
    documents = [*parse_documents(BASE, "a.yaml"), *parse_documents(BASE, "b.yaml")]
    with pytest.raises(UserError) as caught:
        admit(Inventory(), documents, physnets=frozenset({"ext"}), underlay_mtu=1500, revision=1)
    assert [each.file for each in caught.value.problems] == ["b.yaml"] * 5
    assert "first at a.yaml:1" in caught.value.problems[0].message


def test_an_mtu_that_the_outside_cannot_carry_is_warned_about():
    text = BASE.replace("pool:", "mtu: 1400, pool:")
    (warning,) = ask(Inventory(), text).warnings
    assert "its mtu 1442 is more than the 1400" in warning.message
    assert (warning.kind, warning.name, warning.line) == ("Network", "blue", 11)


def test_a_derived_mac_that_is_taken_is_salted():
    base = applied(BASE)
    (free,) = ask(base, document("Port", "p", "network: blue")).changes
    assert free.new
    squatter = document("Port", "squatter", "network: blue", f"mac: {free.new.assigned.mac}")
    (salted,) = ask(applied(BASE, squatter), document("Port", "p", "network: blue")).changes
    assert salted.new
    assert salted.new.assigned.mac not in ("", free.new.assigned.mac)
    assert salted.new.assigned.mac.startswith("0a:")


def keys(*texts: str) -> list[Key]:
    return [Key(*text.split("/")) for text in texts]


def delete_refused(base: Inventory, what: Iterable[str]) -> tuple[Problem, ...]:
    with pytest.raises(Refused) as caught:
        admit_delete(base, keys(*what))
    assert caught.value.code == "in_use"
    return caught.value.problems


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("ExternalNetwork/public", "is used by Router/r1, FloatingIP/f1"),
        ("Router/r1", "is used by Network/blue"),
        ("Network/blue", "is used by Port/vm1, Port/vm2"),
        ("Port/vm1", "is used by FloatingIP/f1"),
    ],
)
def test_what_is_in_use_stays_and_says_by_what(full: Inventory, what: str, message: str):
    (problem,) = delete_refused(full, [what])
    assert problem.message == message
    assert f"{problem.kind}/{problem.name}" == what


def test_users_and_used_go_together_users_first(full: Inventory):
    everything = sorted(str(each.key) for each in full)
    admission = admit_delete(full, keys(*everything))
    order = [change.key.kind for change in admission.changes]
    assert order == sorted(order, key=["FloatingIP", "Port", "Network", "Router", "ExternalNetwork"].index)
    assert {change.action for change in admission.changes} == {"delete"}
    assert len(admission.changes) == len(full)


def test_a_network_that_a_route_leads_through_stays():
    routed = BASE.replace("{external: {network: public}}", "{routes: [{to: 10.0.0.0/8, via: 192.168.7.9}]}")
    base = applied(
        routed.partition("---\nkind: Port")[0]
        + "---\n"
        + document("Network", "n", "cidr: 192.168.7.0/24", "router: r1")
    )
    (problem,) = delete_refused(base, ["Network/n"])
    assert problem.message.startswith("is used by Router/r1: route via 192.168.7.9")
    (change,) = admit_delete(base, keys("Network/blue")).changes
    assert change.old


def test_many_users_are_counted():
    ports = "\n---\n".join(f"{{kind: Port, name: p{at}, spec: {{network: blue}}}}" for at in range(7))
    (problem,) = delete_refused(applied(BASE, ports), ["Network/blue"])
    assert problem.message == "is used by Port/p0, Port/p1, Port/p2, Port/p3, Port/p4 and 3 more"


def test_what_is_not_there_cannot_be_deleted(full: Inventory):
    with pytest.raises(UserError) as caught:
        admit_delete(full, keys("Port/vm11"))
    assert caught.value.code == "not_found"
    assert "'vm1'" in caught.value.problems[0].hint
    with pytest.raises(UserError):
        admit_delete(full, keys("Nonsense/x"))
