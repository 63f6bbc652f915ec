"""What is announced, when, and in which frames."""

from __future__ import annotations

import struct
from ipaddress import IPv6Address
from itertools import pairwise

from ovenbird.host.announcement import frame
from ovenbird.host.openflow import Change, flow_changes
from ovenbird.plan.announcing import LATELY_S, OFFSETS_S, REFRESH_S, Announcement, Binding, Schedule, announcements

MAC, OTHER = "0a:00:00:00:00:01", "0a:00:00:00:00:02"


def one(address: str = "172.16.0.1", *, vlan: int = 0, mac: str = MAC) -> Announcement:
    return Announcement("public_localnet", "ext", vlan, mac, address)


def switch(*nat_addresses: str, vlan: int = 0) -> list[Binding]:
    return [
        Binding(logical_port="public_localnet", type="localnet", datapath="d1", physnet="ext", vlan=vlan),
        Binding(logical_port="public_to_r1", type="patch", datapath="d1", nat_addresses=frozenset(nat_addresses)),
        Binding(logical_port="blue_to_r1", type="patch", datapath="d2"),
    ]


def test_every_address_that_ovn_would_announce_is_announced_on_its_network() -> None:
    found = announcements(
        switch(
            f'{MAC} 172.16.0.1 172.16.0.102 is_chassis_resident("cr-r1_public")',
            f'{OTHER} 172.16.0.103 is_chassis_resident("vm3")',
            "router",
            vlan=7,
        )
    )
    assert found == {
        one("172.16.0.1", vlan=7),
        one("172.16.0.102", vlan=7),
        one("172.16.0.103", vlan=7, mac=OTHER),
    }


def test_a_mac_without_ipv4_is_announced_by_itself_as_well() -> None:
    assert announcements(switch(f"{MAC} fd00::1")) == {one("fd00::1"), one("")}
    assert announcements(switch(f"{MAC} fd00::1", f"{MAC} 172.16.0.1")) == {one("fd00::1"), one("172.16.0.1")}


def test_a_switch_without_a_physical_network_announces_nothing() -> None:
    assert announcements([each for each in switch(f"{MAC} 172.16.0.1") if each.type != "localnet"]) == frozenset()


def test_announcements_begin_at_once_repeat_and_go_on() -> None:
    schedule = Schedule()
    assert schedule.want(frozenset({one()}), 100.0) == {one()}
    moments = []
    while len(moments) < len(OFFSETS_S) + 3:
        now_s = schedule.next_s
        assert schedule.due(now_s) == [one()]
        moments.append(round(now_s - 100.0, 6))
    assert tuple(moments[: len(OFFSETS_S)]) == OFFSETS_S
    refreshes = moments[len(OFFSETS_S) :]
    assert OFFSETS_S[-1] < refreshes[0] <= OFFSETS_S[-1] + REFRESH_S
    assert [later - earlier for earlier, later in pairwise(refreshes)] == [REFRESH_S] * 2


def test_what_is_not_carried_any_more_is_never_due_and_begins_anew_when_it_is_back() -> None:
    schedule = Schedule()
    schedule.want(frozenset({one(), one("172.16.0.2")}), 0.0)
    schedule.due(0.0)
    assert schedule.want(frozenset({one("172.16.0.2")}), 0.01) == frozenset()
    assert schedule.due(10.0) == [one("172.16.0.2")]
    assert schedule.want(frozenset({one()}), 20.0) == {one()}
    assert schedule.due(20.0) == [one()]
    assert schedule.want(frozenset(), 20.1) == frozenset()
    assert schedule.due(1000.0) == []


def test_what_was_taken_lately_is_told() -> None:
    schedule = Schedule()
    schedule.want(frozenset({one()}), 0.0)
    schedule.want(frozenset({one(), one("172.16.0.2")}), LATELY_S)
    assert schedule.fresh(LATELY_S) == {one(), one("172.16.0.2")}
    assert schedule.fresh(LATELY_S + 0.1) == {one("172.16.0.2")}


def test_announcements_that_were_missed_are_not_sent_all_at_once() -> None:
    schedule = Schedule()
    schedule.want(frozenset({one()}), 0.0)
    assert schedule.due(3.0) == [one()]
    assert schedule.due(3.0) == []
    assert schedule.next_s == 4.0
    assert schedule.due(10_000.0) == [one()]
    assert schedule.due(10_000.0) == []
    assert schedule.next_s <= 10_000.0 + REFRESH_S


def test_what_another_may_have_announced_as_well_is_announced_again_and_then_as_before() -> None:
    schedule, calm = Schedule(), Schedule()
    for each in (schedule, calm):
        each.want(frozenset({one()}), 100.0)
        assert each.due(110.0)
    next_s = calm.next_s
    assert next_s > 112.0
    schedule.again(112.0)
    assert schedule.due(112.0) == [one()]
    assert schedule.next_s == next_s


def test_new_ones_come_before_those_that_are_only_repeated() -> None:
    schedule = Schedule()
    schedule.want(frozenset({one()}), 0.0)
    schedule.due(0.0)
    schedule.want(frozenset({one(), one("172.16.0.9", mac=OTHER)}), 0.05)
    assert schedule.due(0.05) == [one("172.16.0.9", mac=OTHER), one()]


def test_ipv4_is_announced_by_an_arp_request_of_its_own() -> None:
    sent = frame(one("172.16.0.1"))
    mac = bytes.fromhex("0a0000000001")
    own = bytes((172, 16, 0, 1))
    head = b"\xff" * 6 + mac + bytes.fromhex("0806 0001 0800 06 04 0001")
    assert sent == (head + mac + own + bytes(6) + own).ljust(60, b"\0")
    assert frame(one("172.16.0.1", vlan=101))[12:18] == bytes.fromhex("8100 0065 0806")


def test_ipv6_is_announced_by_a_neighbor_advertisement_with_a_right_checksum() -> None:
    sent = frame(one("fd00::1"))
    assert (sent[:6], sent[12:14]) == (bytes.fromhex("333300000001"), bytes.fromhex("86dd"))
    packet = sent[14:]
    source, target, icmp = packet[8:24], packet[24:40], packet[40:]
    assert (source, target) == (IPv6Address("fd00::1").packed, IPv6Address("ff02::1").packed)
    assert (packet[6], packet[7], len(icmp)) == (58, 255, struct.unpack("!H", packet[4:6])[0])
    pseudo = source + target + struct.pack("!II", len(icmp), 58) + icmp
    total = sum(struct.unpack(f"!{len(pseudo) // 2}H", pseudo))
    assert (total & 0xFFFF) + (total >> 16) in (0xFFFF, 0xFFFF << 1)
    assert (icmp[0], icmp[8:24], icmp[24:]) == (136, source, bytes.fromhex("0201 0a0000000001"))


def test_a_mac_alone_is_announced_by_rarp() -> None:
    sent = frame(one(""))
    mac = bytes.fromhex("0a0000000001")
    assert sent[12:22] == bytes.fromhex("8035 0001 0800 06 04 0003")
    assert sent[22:42] == mac + bytes(4) + mac + bytes(4)


def test_a_cut_or_foreign_message_of_the_switch_says_nothing() -> None:
    header = struct.pack("!HHII4x", 0xFFFF, 0, 0x2320, 2)
    match = struct.pack("!I", 0x00000206) + bytes.fromhex("0a0000000001")
    length = 24 + 16
    update = struct.pack("!HHHHHHHB9x", length, 0, 0, 50, 0, 0, len(match), 8) + match.ljust(16, b"\0")
    found = list(flow_changes(header + update))
    assert [(each.change, each.destination) for each in found] == [(Change.PRESENT, match[4:])]
    assert list(flow_changes(header + update[:-1])) == []
    assert list(flow_changes(struct.pack("!HHII4x", 0xFFFF, 0, 0x2320, 0) + update)) == []
    assert list(flow_changes(b"")) == []


def test_what_was_taken_lately_is_announced_anew_when_its_last_carrier_has_let_go() -> None:
    schedule = Schedule()
    old, new = one("172.16.0.1"), one("172.16.0.2")
    schedule.want(frozenset({old}), 100.0)
    schedule.want(frozenset({old, new}), 200.0)
    assert set(schedule.due(200.3)) == {old, new}
    assert schedule.next_s > 200.4
    schedule.repeat(200.4)
    assert schedule.due(200.4) == [new]
    assert schedule.next_s == 200.4 + OFFSETS_S[1]
