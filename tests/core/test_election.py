"""The election's decisions: who stands, who leads, who gives up, and why."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovenbird.plan.election import (
    Beat,
    Claim,
    Control,
    Decision,
    Idle,
    Queue,
    Resign,
    Sight,
    Tenure,
    Timers,
    Why,
    decide,
    read_control,
    stand_again_s,
)
from ovenbird.plan.pulse import Ask, Doubt, Pulse, Take, Wait, suspect

TIMERS = Timers()
STANDBY = Sight(now_s=100.0, lock_held=True, store_epoch=4, nb=Control(epoch=4, seen={}))
STILL = Pulse(epoch=4, holder="other", beat=7, since_s=99.0)
WITHOUT_LOCK = replace(STANDBY, lock_held=False, pulse=STILL)
DOUBTED = replace(WITHOUT_LOCK, doubt=Doubt(epoch=4, beat=7, at_s=101.0))
LEADER = replace(STANDBY, store_epoch=5, nb=Control(epoch=5, seen={}), tenure=Tenure(epoch=5, confirmed_s=99.0))


@pytest.mark.parametrize(
    ("sight", "expected"),
    [
        (replace(STANDBY, lock_held=False), Queue(101.0)),
        # That a database can be seen again need not come with any change in it.
        (replace(STANDBY, store_epoch=None), Idle(100.2)),
        (replace(STANDBY, nb=None), Idle(100.2)),
        (replace(STANDBY, stand_from_s=101.0), Idle(101.0)),
        (STANDBY, Claim(5, 4, Control(epoch=4, seen={}))),
        # NB was claimed by somebody whom an older Ovenbird database does not know.
        (replace(STANDBY, nb=Control(epoch=9, seen={})), Claim(10, 4, Control(epoch=9, seen={}))),
        (LEADER, Idle(101.0)),
        (replace(LEADER, now_s=101.0), Beat()),
        (replace(LEADER, lock_held=False), Resign(Why.LOCK_LOST)),
        (replace(LEADER, store_epoch=6), Resign(Why.SUPERSEDED)),
        (replace(LEADER, nb=Control(epoch=6, seen={})), Resign(Why.FENCED)),
        # Views may lag behind the claim.
        (replace(LEADER, store_epoch=4, nb=Control(epoch=4, seen={})), Idle(101.0)),
        (replace(LEADER, store_epoch=None, nb=None), Idle(101.0)),
        (replace(LEADER, now_s=104.0), Resign(Why.NB_HUNG)),
        (replace(LEADER, now_s=103.9, tenure=Tenure(epoch=5, confirmed_s=99.0, in_flight_rows=0)), Idle(104.0)),
        (replace(LEADER, now_s=104.0, tenure=Tenure(epoch=5, confirmed_s=99.0, in_flight_rows=0)), Resign(Why.NB_HUNG)),
        # A great write is slow, not hung.
        (replace(LEADER, now_s=104.0, tenure=Tenure(epoch=5, confirmed_s=99.0, in_flight_rows=1000)), Idle(106.0)),
        # Looked at last so long ago, it was not run: NB is not to blame.
        (replace(LEADER, now_s=115.0, looked_s=100.0), Resign(Why.PAUSED)),
        (replace(LEADER, now_s=104.0, looked_s=103.0), Resign(Why.NB_HUNG)),
        # A reconciler that gets nowhere, with no write under way, gives its place up, and does not stand either.
        (replace(LEADER, busy_since_s=41.0), Idle(101.0)),
        (replace(LEADER, busy_since_s=40.0), Resign(Why.STUCK)),
        (replace(LEADER, busy_since_s=40.0, tenure=Tenure(epoch=5, confirmed_s=99.0, in_flight_rows=0)), Idle(104.0)),
        (replace(STANDBY, busy_since_s=40.0), Resign(Why.STUCK)),
        (replace(WITHOUT_LOCK, busy_since_s=40.0), Idle(101.0)),
        # The holder's heartbeat: it is doubted when one is missing and the next is late, and has its time after that.
        (WITHOUT_LOCK, Queue(101.0)),
        (replace(WITHOUT_LOCK, now_s=100.5), Queue(101.0)),
        (replace(WITHOUT_LOCK, now_s=101.0), Ask(STILL)),
        (replace(DOUBTED, now_s=101.5), Queue(102.0)),
        (replace(DOUBTED, now_s=102.0), Claim(5, 4, Control(epoch=4, seen={}), robbed=STILL)),
        # A beat, or a time without the database in sight, and it begins anew.
        (replace(DOUBTED, now_s=102.0, pulse=replace(STILL, beat=8, since_s=101.9)), Queue(103.0)),
        (replace(DOUBTED, now_s=102.0, pulse=replace(STILL, since_s=101.9)), Queue(103.0)),
        # Not by who cannot act itself, nor from one of which nobody knows that it beats, nor right after failing.
        (replace(DOUBTED, now_s=102.0, nb=None), Queue(102.2)),
        (replace(DOUBTED, now_s=102.0, store_epoch=None), Queue(102.2)),
        (replace(DOUBTED, now_s=102.0, pulse=None), Queue(103.0)),
        (replace(DOUBTED, now_s=102.0, store_epoch=5), Queue(103.0)),
        (replace(DOUBTED, now_s=102.0, fit=False), Idle()),
        (replace(DOUBTED, now_s=102.0, stand_from_s=105.0), Idle(105.0)),
        # Hosts too busy to beat do not go on to rob each other.
        (replace(WITHOUT_LOCK, now_s=102.9, thefts=1), Queue(103.0)),
        (replace(WITHOUT_LOCK, now_s=103.0, thefts=1), Ask(STILL)),
        (replace(LEADER, fit=False), Resign(Why.UNFIT)),
        (replace(STANDBY, fit=False), Resign(Why.UNFIT)),
        (replace(STANDBY, fit=False, lock_held=False), Idle()),
    ],
)
def test_decisions(sight: Sight, expected: Decision) -> None:
    assert decide(sight, TIMERS) == expected


pulses = st.builds(
    Pulse,
    epoch=st.integers(0, 3),
    holder=st.just("other"),
    beat=st.integers(0, 3),
    since_s=st.floats(0, 1000),
)
doubts = st.builds(Doubt, epoch=st.integers(0, 3), beat=st.integers(0, 3), at_s=st.floats(0, 1000))
sights = st.builds(
    Sight,
    now_s=st.floats(0, 1000),
    looked_s=st.floats(0, 1000),
    pulse=st.none() | pulses,
    doubt=st.none() | doubts,
    thefts=st.integers(0, 5),
    lock_held=st.booleans(),
    store_epoch=st.none() | st.integers(0, 9),
    nb=st.none() | st.builds(Control, epoch=st.integers(0, 9), seen=st.just({})),
    tenure=st.none()
    | st.builds(
        Tenure,
        epoch=st.integers(0, 9),
        confirmed_s=st.floats(0, 1000),
        in_flight_rows=st.none() | st.integers(0, 100_000),
    ),
    stand_from_s=st.floats(0, 1000),
    fit=st.booleans(),
)


@given(sights)
def test_a_claim_raises_both_epochs_and_needs_the_lock_and_both_views(sight: Sight) -> None:
    decision = decide(sight, TIMERS)
    if isinstance(decision, Claim):
        assert (sight.lock_held or decision.robbed) and sight.fit and sight.tenure is None
        assert sight.store_epoch is not None and sight.nb is not None
        assert decision.epoch > max(sight.store_epoch, sight.nb.epoch)
        assert (decision.store_epoch, decision.nb) == (sight.store_epoch, sight.nb)


@given(sights)
def test_nobody_leads_on_without_lock_or_round_trip_or_against_a_greater_epoch(sight: Sight) -> None:
    decision = decide(sight, TIMERS)
    if sight.tenure is None or isinstance(decision, Resign):
        return
    allowed_s = TIMERS.deadline_s + TIMERS.row_s * (sight.tenure.in_flight_rows or 0)
    assert sight.lock_held
    assert sight.now_s < sight.tenure.confirmed_s + allowed_s
    assert sight.store_epoch is None or sight.store_epoch <= sight.tenure.epoch
    assert sight.nb is None or sight.nb.epoch <= sight.tenure.epoch


standbys = st.builds(
    Sight,
    now_s=st.integers(100, 120).map(float),
    lock_held=st.just(False),
    store_epoch=st.sampled_from([None, 4, 4, 5]),
    nb=st.sampled_from([None, Control(epoch=4, seen={})]),
    pulse=st.builds(
        Pulse,
        epoch=st.sampled_from([3, 4, 4]),
        holder=st.just("other"),
        beat=st.integers(7, 8),
        since_s=st.integers(90, 110).map(float),
    ),
    doubt=st.builds(Doubt, epoch=st.just(4), beat=st.integers(7, 8), at_s=st.integers(90, 115).map(float)),
    thefts=st.integers(0, 2),
)


@given(standbys)
def test_nobody_is_robbed_who_beat_since_the_doubt_or_in_its_time(sight: Sight) -> None:
    decision = decide(sight, TIMERS)
    if isinstance(decision, Claim) and decision.robbed is not None:
        pulse, doubt = sight.pulse, sight.doubt
        assert pulse is not None and doubt is not None and decision.robbed == pulse
        assert (doubt.epoch, doubt.beat) == (pulse.epoch, pulse.beat)
        assert pulse.epoch == sight.store_epoch
        assert pulse.since_s <= doubt.at_s <= sight.now_s - TIMERS.pulse.grace_s
        assert sight.nb is not None


@given(pulses, st.integers(0, 9), st.lists(st.floats(0.001, 5.0), max_size=60))
def test_thefts_make_patient_and_a_heartbeat_that_goes_on_is_left_alone(
    pulse: Pulse, thefts: int, pauses: list[float]
) -> None:
    """A candidate that looks at arbitrary times: one that beats within the doubt's time is never even doubted."""
    now_s, doubt = pulse.since_s, None
    for pause_s in pauses:
        now_s += pause_s
        decision = suspect(pulse, doubt, thefts, now_s, TIMERS.pulse)
        if isinstance(decision, Ask):
            doubt = Doubt(epoch=pulse.epoch, beat=pulse.beat, at_s=now_s)
        elif isinstance(decision, Take):
            least_s = (TIMERS.pulse.doubt_s + TIMERS.pulse.grace_s) * 2 ** min(thefts, 3)
            assert now_s - pulse.since_s >= least_s - 1e-6
        else:
            assert decision.until_s > now_s
    beating = replace(pulse, beat=pulse.beat + 1, since_s=now_s)
    assert isinstance(suspect(beating, doubt, thefts, now_s + 0.99 * TIMERS.pulse.doubt_s, TIMERS.pulse), Wait)


@given(sights)
def test_waiting_is_never_for_the_past(sight: Sight) -> None:
    decision = decide(sight, TIMERS)
    if isinstance(decision, Queue) or (isinstance(decision, Idle) and decision.until_s is not None):
        assert decision.until_s > sight.now_s


def test_backing_off_lets_others_try_and_grows_up_to_a_bound() -> None:
    waits = [stand_again_s(Why.NB_HUNG, failures, 0.0, TIMERS) for failures in range(1, 6)]
    assert waits == [5.0, 10.0, 20.0, 30.0, 30.0]
    assert stand_again_s(Why.LOCK_LOST, 0, 7.0, TIMERS) == 7.0
    assert stand_again_s(Why.FENCED, 0, 7.0, TIMERS) == 8.0


@given(st.builds(Control, epoch=st.integers(0), holder=st.text(), revision=st.integers(0), beat=st.integers(0)))
def test_what_the_row_says_is_read_back(control: Control) -> None:
    assert read_control(control.external_ids()) == replace(control, seen=control.external_ids())


def test_a_row_that_somebody_spoilt_counts_from_zero_but_can_be_claimed() -> None:
    spoilt = {"ovenbird-epoch": "x", "ovenbird-revision": "-1", "else": "1"}
    assert read_control(spoilt) == Control(seen=spoilt)
    assert read_control(None).seen is None
