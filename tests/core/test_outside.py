"""Whether the outside has learnt where an address is: who is asked what, and what answers and silence prove."""

from __future__ import annotations

import struct

from ovenbird.host.announcement import question
from ovenbird.host.arp_probe import Target, reply
from ovenbird.plan.announcing import LATE_OFFSETS_S, OFFSETS_S, Announcement, Schedule
from ovenbird.plan.outside import LOST_S, PATIENCE_S, TOLD_S, Claims, Upstream

MAC, OTHER, HOP = "0a:00:00:00:00:01", "0a:00:00:00:00:02", "02:00:00:00:00:fe"
UPSTREAM = Upstream(physnet="ext", vlan=7, address="172.16.0.254", cidr="172.16.0.0/24", mac=HOP)
SILENT_UPSTREAM = Upstream(physnet="ext", vlan=7, address="172.16.0.254", cidr="172.16.0.0/24", mac="")


def one(address: str = "172.16.0.1", *, mac: str = MAC, vlan: int = 7) -> Announcement:
    return Announcement("public_localnet", "ext", vlan, mac, address)


def carrying(*held: Announcement, lost: dict[str, float] | None = None) -> Claims:
    claims = Claims()
    assert claims.carry(held, lost or {}, 100.0, 5000)
    return claims


def asked(claims: Claims, each: Announcement, now_s: float) -> bool:
    upstream = claims.whom(each, [UPSTREAM], now_s)
    if upstream is not None:
        claims.asked(each, upstream, now_s)
    return upstream is not None


def state(claims: Claims, now_s: float, mac: str = MAC) -> str:
    return str(claims.told(now_s)["claims"][mac]["state"])


def test_a_question_goes_to_the_next_hop_in_the_address_s_own_name_and_tag() -> None:
    frame = question(one(), "172.16.0.254", HOP)
    assert frame[:6].hex(":") == HOP
    assert frame[6:12].hex(":") == MAC
    assert struct.unpack("!HHH", frame[12:18]) == (0x8100, 7, 0x0806)
    sender_mac, sender, _, target = struct.unpack("!6s4s6s4s", frame[26:46])
    assert (sender_mac.hex(":"), sender, target) == (MAC, bytes([172, 16, 0, 1]), bytes([172, 16, 0, 254]))
    assert len(frame) >= 60


def test_only_a_reply_is_an_answer() -> None:
    asks = question(one(vlan=0), "172.16.0.254", HOP)
    assert reply(asks) is None
    answers = (
        bytes.fromhex(MAC.replace(":", "")) + asks[6:20] + b"\0\2" + b"\2\0\0\0\0\xfe" + b"\xac\x10\0\xfe" + bytes(18)
    )
    heard = reply(answers, 7)
    assert heard is not None
    assert heard.who == Target("172.16.0.254", 7)
    assert heard.destination.hex(":") == MAC
    assert reply(answers[:41]) is None


def test_each_mac_is_asked_for_once_a_round_until_it_is_answered() -> None:
    claims = carrying(one(), one("172.16.0.102"))
    assert asked(claims, one(), 100.0)
    assert not asked(claims, one("172.16.0.102"), 100.0)
    assert claims.asking(100.0) == {"ext"}
    assert asked(claims, one("172.16.0.102"), 100.05)
    assert claims.hear(MAC, "172.16.0.254", 7, 100.06)
    assert claims.told(100.1)["claims"][MAC] == {
        "address": "172.16.0.102",
        "taken_ms": 5000,
        "state": "answered",
        "next_hop": "172.16.0.254",
        "answered_ms": 60,
    }
    assert not asked(claims, one(), 100.1)
    assert claims.unlearnt == claims.asking(100.1) == frozenset()


def test_only_who_was_asked_answers() -> None:
    claims = carrying(one())
    assert not claims.hear(MAC, "172.16.0.254", 7, 100.0)  # nobody was asked
    assert asked(claims, one(), 100.0)
    assert not claims.hear(MAC, "172.16.0.253", 7, 100.0)
    assert not claims.hear(MAC, "172.16.0.254", 8, 100.0)
    assert not claims.hear(OTHER, "172.16.0.254", 7, 100.0)
    assert claims.hear(MAC, "172.16.0.254", 7, 100.0)


def test_who_is_not_on_the_network_of_the_next_hop_is_not_asked_for() -> None:
    far, other_wire, mac_alone = one("198.51.100.7"), one(vlan=8), one("")
    for each in (far, other_wire, mac_alone, one("fd00::1")):
        assert not asked(carrying(each), each, 100.0)


def test_silence_proves_something_only_of_a_next_hop_that_lives_and_has_answered_such_a_question() -> None:
    claims = carrying(one(), one("172.16.0.2", mac=OTHER))
    assert asked(claims, one(), 100.0)
    assert not claims.look([UPSTREAM], 100.0 + PATIENCE_S / 2)
    assert claims.look([UPSTREAM], 100.0 + PATIENCE_S)
    assert state(claims, 106.0) == "unknown"
    assert asked(claims, one("172.16.0.2", mac=OTHER), 106.0)
    assert claims.hear(OTHER, "172.16.0.254", 7, 106.0)
    assert claims.look([UPSTREAM], 107.0)
    assert state(claims, 107.0) == "silent"
    assert claims.look([SILENT_UPSTREAM], 108.0)
    assert state(claims, 108.0) == "unknown"
    assert claims.hear(MAC, "172.16.0.254", 7, 109.0)
    assert state(claims, 109.0) == "answered"


def test_what_was_let_go_and_what_was_lost_before_is_told_for_a_while() -> None:
    claims = carrying(one(), lost={"g1": 99.4, "g3": 99.0 - LOST_S})
    assert claims.told(100.0)["claims"][MAC]["lost"] == {"g1": 600}
    assert claims.carry([], {}, 101.0, 6000)
    assert claims.told(101.0) == {"claims": {}, "released": {MAC: 6000}}
    assert claims.look([], 102.0 + TOLD_S)
    assert claims.told(102.0 + TOLD_S) == {"claims": {}, "released": {}}


def test_it_is_asked_again_when_the_old_gateway_has_let_go_and_the_first_answer_stays_told() -> None:
    claims = carrying(one(), one("172.16.0.2", mac=OTHER))
    for each in (one(), one("172.16.0.2", mac=OTHER)):
        assert asked(claims, each, 100.0)
    assert claims.hear(MAC, "172.16.0.254", 7, 100.02)
    claims.doubt(100.4, 5.0)
    assert claims.unlearnt == {MAC, OTHER}
    assert not claims.hear(MAC, "172.16.0.254", 7, 100.41), "nobody has asked since"
    assert asked(claims, one(), 100.45)
    assert claims.look([UPSTREAM], 100.4 + PATIENCE_S)
    assert (state(claims, 105.5), state(claims, 105.5, OTHER)) == ("silent", "silent")
    assert claims.hear(MAC, "172.16.0.254", 7, 105.5)
    told = claims.told(105.5)["claims"][MAC]
    assert (told["state"], told["answered_ms"]) == ("answered", 20)
    claims.doubt(200.0, 5.0)
    assert MAC not in claims.unlearnt, "it was taken long ago"


def test_announcements_go_on_longer_while_nobody_is_known_to_have_learnt() -> None:
    schedule = Schedule()
    schedule.want(frozenset({one()}), 100.0)
    moments = []
    while len(moments) < len(OFFSETS_S) + len(LATE_OFFSETS_S):
        now_s = schedule.next_s
        schedule.due(now_s, {MAC})
        moments.append(round(now_s - 100.0, 6))
    assert tuple(moments) == OFFSETS_S + LATE_OFFSETS_S
