"""Realised: done, lagging or dead per chassis; death needs evidence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovenbird.plan.realised import ChassisFacts, Realised, SouthboundFacts, judge_realised

LONG_THERE = SouthboundFacts(sb_cfg=42, waiting_s=60.0)


def facts(**known) -> ChassisFacts:
    return ChassisFacts(**{"name": "n1", "registered": True, "nb_cfg": 41} | known)


@pytest.mark.parametrize(
    ("known", "state", "evidence"),
    [
        ({"nb_cfg": 42}, Realised.DONE, "has realised nb_cfg 42"),
        ({"nb_cfg": 50}, Realised.DONE, "has realised nb_cfg 50"),
        ({"nb_cfg": 42, "registered": False}, Realised.LAGGING, "not registered"),
        ({}, Realised.LAGGING, "nothing is known of its agent"),
        ({"nb_cfg": None}, Realised.LAGGING, "is not known to have realised nb_cfg 42"),
        ({"heartbeat_age_s": 2.0, "controller_running": True}, Realised.LAGGING, "ovn-controller runs"),
        ({"heartbeat_age_s": 2.0}, Realised.LAGGING, "could not ask"),
        ({"heartbeat_age_s": 2.0, "controller_running": False}, Realised.DEAD, "ovn-controller does not run"),
        ({"heartbeat_age_s": 90.0}, Realised.DEAD, "its agent has been silent for 90 s"),
        ({"heartbeat_age_s": 90.0, "registered": False}, Realised.DEAD, "is not registered in SB"),
        ({"heartbeat_age_s": 90.0, "registered": None, "nb_cfg": None}, Realised.LAGGING, "silent for 90 s"),
    ],
)
def test_one_chassis(known, state, evidence):
    verdict = judge_realised(42, LONG_THERE, [facts(**known)])
    assert verdict.chassis[0].state is state
    assert evidence in verdict.chassis[0].detail
    assert verdict.state is state


def test_an_old_word_of_the_agent_is_not_evidence():
    stale = facts(heartbeat_age_s=90.0, controller_running=False)
    assert judge_realised(42, SouthboundFacts(sb_cfg=42, waiting_s=1.0), [stale]).state is Realised.LAGGING


def test_silence_counts_only_once_the_change_has_been_in_sb_as_long():
    silent = facts(heartbeat_age_s=90.0)
    assert judge_realised(42, SouthboundFacts(sb_cfg=42, waiting_s=1.0), [silent]).state is Realised.LAGGING
    assert judge_realised(42, SouthboundFacts(sb_cfg=41), [silent]).state is Realised.LAGGING


def test_northd_is_named_when_it_is_the_culprit():
    verdict = judge_realised(42, SouthboundFacts(sb_cfg=41), [facts(heartbeat_age_s=1.0, controller_running=True)])
    assert verdict.state is Realised.LAGGING
    assert verdict.detail == "northd has written nb_cfg 41 to SB, not yet 42"
    assert "not known" in judge_realised(42, SouthboundFacts(), [facts()]).detail


def test_lagging_outweighs_dead_and_names_are_given():
    dead = facts(name="n2", heartbeat_age_s=1.0, controller_running=False)
    lagging = facts(name="n3", heartbeat_age_s=1.0, controller_running=True)
    done = facts(name="n1", nb_cfg=42)
    assert judge_realised(42, LONG_THERE, [dead, lagging, done]).detail == "1 of 3 chassis not there yet: n3"
    both = judge_realised(42, LONG_THERE, [dead, done])
    assert (both.state, both.detail) == (Realised.DEAD, "1 of 2 chassis dead: n2")


def test_no_chassis():
    assert judge_realised(42, SouthboundFacts(sb_cfg=42), []).state is Realised.DONE
    assert "no chassis" in judge_realised(42, SouthboundFacts(sb_cfg=42), []).detail
    assert judge_realised(42, SouthboundFacts(sb_cfg=41), []).state is Realised.LAGGING


@given(
    st.builds(
        ChassisFacts,
        name=st.just("n1"),
        registered=st.sampled_from([None, True, False]),
        nb_cfg=st.none() | st.integers(0, 84),
        nb_cfg_age_s=st.none() | st.floats(0, 1000),
        heartbeat_age_s=st.none(),
        controller_running=st.sampled_from([None, True, False]),
    ),
    st.builds(SouthboundFacts, sb_cfg=st.none() | st.integers(0, 84), waiting_s=st.none() | st.floats(0, 1000)),
)
def test_without_any_word_of_its_agent_nobody_is_dead(chassis, southbound):
    assert judge_realised(42, southbound, [chassis]).state is not Realised.DEAD
