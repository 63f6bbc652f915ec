"""When a gateway silences itself: it sees nobody, and its ovn-controller cannot see to it. Never otherwise."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from ovenbird.plan.isolation import ALONE_S, FAILS_S, WORKS_S, Isolation, judge

CUT: Sequence[bool | None] = (False, False)


def run(*looks: tuple[float, Sequence[bool | None], bool | None]) -> bool:
    known = Isolation()
    for now_s, sessions, works in looks:
        known = judge(sessions, works, known, now_s)
    return known.silent


def test_cut_off_with_a_controller_that_hangs() -> None:
    assert not run((0, CUT, False))
    assert not run((0, CUT, False), (FAILS_S / 2, CUT, False))
    assert run((0, CUT, False), (FAILS_S, CUT, False))
    assert not run((0, CUT, True), (60, CUT, False), (60 + FAILS_S / 2, CUT, False)), "it is being started anew"
    lately = (60, CUT, False), (60 + ALONE_S / 2, CUT, False)
    assert not run((0, (True, False), False), *lately), "the tunnels may come back"


def test_a_controller_that_works_sees_to_it_itself() -> None:
    assert not run((0, CUT, True), (60, CUT, True))
    assert not run((0, CUT, None), (60, CUT, None)), "not known to hang"


def test_one_tunnel_is_enough_and_no_tunnel_proves_nothing() -> None:
    assert not run((0, (True, False), False), (60, (True, False), False))
    assert not run((0, (None, False), False), (60, (None, False), False))
    assert not run((0, (), False), (60, (), False))


def test_released_by_the_first_tunnel_or_by_a_controller_that_has_worked_for_a_while() -> None:
    silenced = ((0, CUT, False), (FAILS_S, CUT, False))
    assert not run(*silenced, (5, (True, False), False))
    assert run(*silenced, (5, CUT, True))
    assert not run(*silenced, (5, CUT, True), (5 + WORKS_S, CUT, True))
    assert run(*silenced, (5, CUT, True), (6, CUT, False), (5 + WORKS_S, CUT, True)), "it must work without a break"


@given(
    st.lists(
        st.tuples(st.lists(st.sampled_from((None, True, False)), max_size=3), st.sampled_from((None, True, False))),
        max_size=8,
    )
)
def test_a_host_that_sees_somebody_is_never_silent(looks: list[tuple[list[bool | None], bool | None]]) -> None:
    known = Isolation()
    for at, (sessions, works) in enumerate(looks):
        known = judge(sessions, works, known, float(at))
        assert not known.silent or (sessions and not any(up is not False for up in sessions))
