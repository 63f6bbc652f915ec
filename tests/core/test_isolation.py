"""When a gateway silences itself, wholly or for what it does not carry: it sees nobody, or nobody but a few as yet."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from ovenbird.plan.isolation import (
    ALONE_S,
    FAILS_S,
    LONGEST_S,
    SETTLED_S,
    UNHURRIED_S,
    WORKS_S,
    Isolation,
    judge,
    left_behind,
    muted,
)

GATEWAYS = ("g2", "g3")
Sessions = Mapping[str, bool | None]
CUT: Sessions = {"g2": False, "g3": False, "n1": False}
ONE: Sessions = {**CUT, "g2": True}
ALL: Sessions = {**CUT, "g2": True, "g3": True}


def last(*looks: tuple[float, Sessions, bool | None], fresh: bool = True) -> Isolation:
    known = Isolation()
    for now_s, sessions, works in looks:
        known = judge(sessions, GATEWAYS, works, known, now_s, fresh=fresh)
    return known


def silent(*looks: tuple[float, Sessions, bool | None]) -> bool:
    return last(*looks).silent


def test_cut_off_with_a_controller_that_hangs() -> None:
    assert not silent((0, CUT, False))
    assert not silent((0, CUT, False), (FAILS_S / 2, CUT, False))
    assert silent((0, CUT, False), (FAILS_S, CUT, False))
    assert not silent((0, CUT, True), (60, CUT, False), (60 + FAILS_S / 2, CUT, False)), "it is being started anew"
    lately = (60, CUT, False), (60 + ALONE_S / 2, CUT, False)
    assert not silent((0, ONE, False), *lately), "the tunnels may come back"


def test_a_controller_that_works_sees_to_it_itself() -> None:
    assert not silent((0, CUT, True), (60, CUT, True))
    assert not silent((0, CUT, None), (60, CUT, None)), "not known to hang"


def test_one_tunnel_is_enough_and_no_tunnel_proves_nothing() -> None:
    for sessions in (ONE, {**CUT, "g2": None}, {}):
        found = last((0, sessions, False), (60, sessions, False))
        assert not found.silent
        assert not found.wary


def test_released_by_the_first_tunnel_or_by_a_controller_that_has_worked_for_a_while() -> None:
    silenced = ((0.0, CUT, False), (FAILS_S, CUT, False))
    assert not silent(*silenced, (5, ONE, False))
    assert silent(*silenced, (5, CUT, True))
    assert not silent(*silenced, (5, CUT, True), (5 + WORKS_S, CUT, True))
    assert silent(*silenced, (5, CUT, True), (6, CUT, False), (5 + WORKS_S, CUT, True)), "it must work without a break"


CUT_OFF = ((0.0, CUT, True), (ALONE_S, CUT, True))


def test_wary_until_all_gateways_have_been_in_sight_for_a_moment() -> None:
    assert not last((0, CUT, True), (ALONE_S / 2, CUT, True)).wary
    assert not last((0, CUT, True), (ALONE_S / 2, CUT, True), (9, ONE, True)).wary, "a blink: it was not replaced"
    assert last(*CUT_OFF, (60, CUT, True)).wary
    assert last(*CUT_OFF, (60, ONE, True)).returning
    seen = (60.5, ALL, True)
    assert last(*CUT_OFF, (60, ONE, True), seen).wary, "n1 is no gateway, and ovn-controller has still to compute"
    assert not last(*CUT_OFF, (60, ONE, True), seen, (60.5 + SETTLED_S, ALL, True)).wary
    assert last(*CUT_OFF, (60, ALL, True), (60.2, ONE, True), (60 + SETTLED_S, ALL, True)).wary, "without a break"


def test_one_that_does_not_come_back_is_not_waited_for_long() -> None:
    assert last(*CUT_OFF, (60, ONE, True), (60 + LONGEST_S - 0.1, ONE, True)).wary
    assert not last(*CUT_OFF, (60, ONE, True), (60 + LONGEST_S, ONE, True)).wary
    again = last(*CUT_OFF, (60, ONE, True), (61, CUT, True), (62, ONE, True), (60 + LONGEST_S, ONE, True))
    assert again.wary, "cut off again: counted anew"


def test_ovn_controller_has_no_hurry_while_cut_off_and_for_a_moment_after() -> None:
    assert last((0, CUT, True), (ALONE_S / 2, CUT, True)).hurries(ALONE_S / 2), "it may be a blink"
    assert not last(*CUT_OFF).hurries(ALONE_S)
    trusting = last(*CUT_OFF, (60, ONE, True), (60 + LONGEST_S - 0.1, ONE, True), (60 + LONGEST_S, ONE, True))
    assert not trusting.hurries(60 + LONGEST_S)
    assert trusting.hurries(60 + LONGEST_S - 0.1 + UNHURRIED_S)


def test_what_sb_said_before_is_not_trusted() -> None:
    looks = (*CUT_OFF, (60.0, ALL, True), (60 + SETTLED_S, ALL, True))
    assert last(*looks, fresh=False).wary
    assert last(*CUT_OFF, (60, ALL, False), (60 + SETTLED_S, ALL, False)).wary
    assert not last(*looks).wary


def test_muted_is_what_was_not_carried_and_it_stays_so_while_the_sight_is_narrow() -> None:
    known = frozenset({"own", "other"})
    own: frozenset[str] = frozenset({"own"})
    nobody: frozenset[str] = frozenset()
    cut_off = last(*CUT_OFF)
    assert muted(known, nobody, nobody, cut_off) == known
    assert muted(known, own, known, cut_off) == {"other"}, "given to it while it was cut off: it is the last one"
    returning = last(*CUT_OFF, (60, ONE, True))
    assert muted(known, known, frozenset({"other"}), returning) == {"other"}
    assert muted(known, known, known, last(*CUT_OFF, (60, ALL, True), (61, ALL, True))) == nobody
    hangs = last(*CUT_OFF, (10, CUT, False), (10 + FAILS_S, CUT, False))
    assert hangs.silent
    assert muted(known, known, nobody, hangs) == known, "what it says that it carries says nothing"


def test_what_others_claim_is_left_behind_by_an_ovn_controller_that_does_not_work_and_by_no_other() -> None:
    carried, elsewhere = frozenset({"moved", "kept"}), frozenset({"moved", "never here"})
    first = left_behind(carried, elsewhere, False, {}, 10.0)
    assert first == {"moved": 10.0}, "what nobody else claims is better carried here than nowhere"
    assert left_behind(carried, elsewhere, False, first, 11.0) == {"moved": 10.0}
    assert left_behind(frozenset(), elsewhere, False, first, 11.0) == {}
    assert left_behind(carried, elsewhere, True, first, 11.0) == {}, "one that works lets go by itself"


looks = st.lists(
    st.tuples(
        st.dictionaries(st.sampled_from(("g2", "g3", "n1")), st.sampled_from((None, True, False))),
        st.sampled_from((None, True, False)),
    ),
    max_size=8,
)


@given(looks)
def test_a_host_that_sees_somebody_is_never_silent_and_not_wary_for_long(
    given_looks: list[tuple[dict[str, bool | None], bool | None]],
) -> None:
    known, sees = Isolation(), 0
    for at, (sessions, works) in enumerate(given_looks):
        known = judge(sessions, GATEWAYS, works, known, float(at))
        alone = bool(sessions) and not any(up is not False for up in sessions.values())
        assert not known.silent or alone
        sees = 0 if alone else sees + 1
        assert sees <= LONGEST_S or not known.wary
