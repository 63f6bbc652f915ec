"""Where a gateway's ovn-controller gets SB from: never away from members that work, never to a copy that cannot be."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ovenbird.plan.southbound_path import BACK_S, LOST_S, Path, Seen, Step, next_step, works_alone


def seen(path: Path = Path.MEMBERS, **known: object) -> Seen:
    return Seen(**{"path": path, "members": False, "for_s": 60.0, **known})  # type: ignore[arg-type]


def test_members_that_work_are_kept() -> None:
    assert next_step(seen(members=True, relay_filled=True, copy_on_disk=True)) is Step.STAY


def test_a_moment_without_members_is_no_loss() -> None:
    assert next_step(seen(for_s=LOST_S / 2, relay_filled=True)) is Step.STAY


def test_a_loss_is_answered_with_a_fresh_copy() -> None:
    assert next_step(seen(for_s=LOST_S, relay_filled=True, copy_on_disk=True)) is Step.TAKE_COPY


def test_after_a_restart_without_members_the_copy_of_this_loss_is_served() -> None:
    assert next_step(seen(copy_on_disk=True)) is Step.SERVE_OLD_COPY
    assert next_step(seen()) is Step.STAY, "there is nothing to serve"


def test_the_copy_is_left_only_for_members_that_stay() -> None:
    assert next_step(seen(Path.COPY, members=True, for_s=BACK_S / 2)) is Step.STAY
    assert next_step(seen(Path.COPY, members=True, for_s=BACK_S)) is Step.LEAVE_COPY
    assert next_step(seen(Path.COPY, relay_filled=True)) is Step.STAY, "what was written to the copy is kept"


def test_whether_a_gateway_works_alone() -> None:
    assert works_alone(seen(members=True, relay_filled=True), copy_served=False) == (True, "")
    ready, why = works_alone(seen(members=True), copy_served=False)
    assert not ready
    assert "relay" in why
    assert works_alone(seen(Path.COPY), copy_served=True) == (True, "")
    assert not works_alone(seen(Path.COPY, relay_filled=True), copy_served=False)[0]


@given(
    st.builds(
        Seen,
        path=st.sampled_from(Path),
        members=st.booleans(),
        for_s=st.floats(0, 100),
        relay_filled=st.booleans(),
        copy_on_disk=st.booleans(),
    )
)
def test_every_step_is_possible_where_it_is_taken(there: Seen) -> None:
    step = next_step(there)
    if step in (Step.TAKE_COPY, Step.SERVE_OLD_COPY):
        assert there.path is Path.MEMBERS
        assert not there.members
        assert there.relay_filled if step is Step.TAKE_COPY else there.copy_on_disk
    if step is Step.LEAVE_COPY:
        assert there.path is Path.COPY
        assert there.members
