"""Which gateways are fit: examples of every rule, and what must hold whatever agents tell."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from ovenbird.plan.fitness import (
    OVN_CONTROLLER,
    UPLINK,
    Finding,
    Policy,
    Sight,
    State,
    is_waiting,
    judge,
    read_fitness,
    unfit,
)
from ovenbird.plan.probing import CLOSE_TRIES_WHEN_BAD, SLOW_S, USUAL_S, Probing

OK, BAD, UNKNOWN = Finding(State.OK), Finding(State.BAD, "evidence"), Finding(State.UNKNOWN)
HOP = "next hop of public"
POLICY = Policy()


def sight(name, *, fresh=True, physnet="ext", uplink=OK, hop=OK, controller=OK):
    return Sight(name=name, is_fresh=fresh, physnets={physnet: {UPLINK: uplink, HOP: hop, OVN_CONTROLLER: controller}})


class Story:
    """A judgement that goes on: each look takes the last one's answer."""

    def __init__(self):
        self.verdicts = {}

    def at(self, now_s, *sights):
        self.verdicts = judge(sights, self.verdicts, now_s, POLICY)
        return set(unfit(self.verdicts).get("ext", ()))


def test_a_dead_uplink_counts_at_once_and_says_why():
    story = Story()
    assert story.at(0, sight("g1"), sight("g2")) == set()
    assert story.at(1, sight("g1", uplink=BAD), sight("g2")) == {"g1"}
    assert story.verdicts["g1", "ext"].why == "uplink: evidence"


def test_it_returns_after_a_hold_down_of_unbroken_health():
    story = Story()
    story.at(0, sight("g1", uplink=BAD), sight("g2"))
    assert story.at(1, sight("g1"), sight("g2")) == {"g1"}
    assert story.at(10.9, sight("g1"), sight("g2")) == {"g1"}
    assert story.at(11, sight("g1"), sight("g2")) == set()


def test_a_relapse_within_the_hold_down_starts_it_anew():
    story = Story()
    story.at(0, sight("g1", uplink=BAD), sight("g2"))
    story.at(1, sight("g1"), sight("g2"))
    story.at(9, sight("g1", uplink=BAD), sight("g2"))
    story.at(10, sight("g1"), sight("g2"))
    assert story.at(15, sight("g1"), sight("g2")) == {"g1"}
    assert story.at(20, sight("g1"), sight("g2")) == set()


def test_each_relapse_doubles_the_hold_down_up_to_a_limit():
    story, now_s, waits = Story(), 0.0, []
    for _ in range(12):
        story.at(now_s, sight("g1", uplink=BAD), sight("g2"))
        waits.append(POLICY.hold_down.after(story.verdicts["g1", "ext"].falls_s, now_s))
        now_s += 1
        story.at(now_s, sight("g1"), sight("g2"))
        now_s += waits[-1]
        assert story.at(now_s, sight("g1"), sight("g2")) == set()
        now_s += 1
    assert waits[:4] == [10, 20, 40, 80]
    assert max(waits) <= POLICY.hold_down.longest_s


def test_a_flapping_uplink_moves_routers_a_few_times_and_not_each_time():
    story, moves, before = Story(), 0, set()
    for tick in range(600):
        now = story.at(float(tick), sight("g1", uplink=BAD if tick % 15 < 2 else OK), sight("g2"))
        moves += now != before
        before = now
    assert moves <= 3


def test_unknown_never_takes_a_gateway_away_nor_gives_it_back():
    story = Story()
    assert story.at(0, sight("g1", uplink=UNKNOWN, hop=UNKNOWN, controller=UNKNOWN), sight("g2")) == set()
    story.at(1, sight("g1", uplink=BAD), sight("g2"))
    assert story.at(100, sight("g1", uplink=UNKNOWN), sight("g2")) == {"g1"}
    assert story.at(200, sight("g1", fresh=False), sight("g2")) == {"g1"}


def test_what_a_silent_agent_said_last_counts_for_nothing():
    assert Story().at(0, sight("g1", fresh=False, uplink=BAD), sight("g2")) == set()
    assert Story().at(0, sight("g1", uplink=BAD), sight("g2", fresh=False)) == set(), "nobody is known to be better"


def test_a_next_hop_that_nobody_reaches_moves_nothing():
    story = Story()
    for now_s in range(10):
        assert story.at(float(now_s), sight("g1", hop=BAD), sight("g2", hop=BAD), sight("g3", hop=BAD)) == set()


def test_when_most_lose_it_at_once_it_is_waited_whether_all_do():
    story = Story()
    sights = (sight("g1", hop=BAD), sight("g2", hop=BAD), sight("g3"))
    assert story.at(0, *sights) == set()
    assert story.at(1, *sights) == set()
    assert story.at(1.5, *sights) == {"g1", "g2"}, "one reaches it after all"


def test_a_hung_controller_is_first_left_to_its_own_host():
    story = Story()
    assert story.at(0, sight("g1", controller=BAD), sight("g2")) == set()
    assert story.at(1.9, sight("g1", controller=BAD), sight("g2")) == set()
    assert story.at(2, sight("g1", controller=BAD), sight("g2")) == {"g1"}


def test_the_last_good_one_falls_ill_and_one_that_is_good_again_does_not_wait():
    story = Story()
    story.at(0, sight("g1", uplink=BAD), sight("g2"))
    for now_s in (1, 2, 9):
        assert story.at(now_s, sight("g1", uplink=BAD), sight("g2", hop=BAD)) == {"g1"}, "nobody is better than g2"
    assert story.at(10, sight("g1"), sight("g2", hop=BAD)) == {"g2"}


def test_a_next_hop_that_only_one_lost_counts_after_the_others_could_have_told():
    story = Story()
    assert story.at(0, sight("g1", hop=BAD), sight("g2")) == set()
    assert is_waiting(story.verdicts, 0, POLICY)
    assert story.at(0.1, sight("g1", hop=BAD), sight("g2")) == set()
    assert story.at(0.2, sight("g1", hop=BAD), sight("g2")) == {"g1"}
    assert not is_waiting(story.verdicts, 0.5, POLICY)


def test_a_network_that_is_gone_holds_nobody_down():
    story = Story()
    story.at(0, sight("g1", hop=BAD), sight("g2"))
    without = {UPLINK: OK, OVN_CONTROLLER: OK}
    for now_s in (1, 11):
        seen = story.at(now_s, Sight(name="g1", is_fresh=True, physnets={"ext": without}), sight("g2"))
    assert seen == set()


def test_facts_are_read_with_an_open_mind():
    ours = {"host": {OVN_CONTROLLER: OK.to_json()}, "physnets": {"ext": {UPLINK: BAD.to_json()}}}
    assert read_fitness({"fitness": ours}) == {"ext": {OVN_CONTROLLER: OK, UPLINK: BAD}}
    for odd in (None, 3, {"physnets": 3}, {"physnets": {"ext": 3}, "host": []}):
        assert not any(read_fitness({"fitness": odd}).values())
    assert read_fitness({"fitness": {"physnets": {"ext": {UPLINK: {"state": "fine"}}}}}) == {"ext": {UPLINK: UNKNOWN}}


def after(probing: Probing, outcomes: str) -> Probing:
    """`outcomes`: one character for each try, + for an answer."""
    for outcome in outcomes:
        probing = probing.heard() if outcome == "+" else probing.silence()
    return probing


def test_five_silences_in_a_row_are_bad_and_three_answers_good_again():
    assert after(Probing(), "-----").state is State.UNKNOWN, "what never answered proves nothing"
    assert after(Probing(), "+----").state is State.OK
    assert after(Probing(), "+----+----").state is State.OK, "not in a row"
    bad = after(Probing(), "+-----")
    assert bad.state is State.BAD
    assert after(bad, "++").state is State.BAD
    assert after(bad, "++-++").state is State.BAD, "not in a row"
    assert after(bad, "+++").state is State.OK


def test_a_doubt_is_settled_quickly_and_what_is_silent_is_left_in_peace():
    assert after(Probing(), "+").pause_s == after(Probing(), "+--+").pause_s == USUAL_S
    assert after(Probing(), "---").pause_s == SLOW_S, "never heard of"
    silence_s, probing = 0.0, Probing().heard()
    while probing.state is State.OK:
        silence_s, probing = silence_s + probing.pause_s, probing.silence()
    assert 0.3 <= silence_s <= 0.4, "long enough that a short stall is none, short enough for an outage"
    again_s, answers = 0.0, probing
    while answers.state is State.BAD:
        again_s, answers = again_s + answers.pause_s, answers.heard()
    assert again_s < POLICY.next_hop_s, "what answers again at once is good before anybody has acted"
    assert after(probing, "-" * CLOSE_TRIES_WHEN_BAD).pause_s == SLOW_S
    assert after(probing, "-" * 100 + "++").pause_s == SLOW_S, "and what was away for long need not hurry back"


findings = st.sampled_from([OK, BAD, UNKNOWN])
NAMES = ("g1", "g2", "g3")
looks = st.lists(
    st.tuples(st.sampled_from([0.0, 0.4, 2.0, 12.0]), *[st.tuples(st.booleans(), findings, findings)] * 3), max_size=12
)


def seen(look):
    return [sight(name, fresh=fresh, uplink=up, hop=hop) for name, (fresh, up, hop) in zip(NAMES, look, strict=True)]


@settings(deadline=None)
@given(looks)
def test_a_group_is_never_emptied(story):
    verdicts, now_s = {}, 0.0
    for wait_s, *look in story:
        now_s += wait_s
        verdicts = judge(seen(look), verdicts, now_s)
        out = unfit(verdicts).get("ext", frozenset())
        assert len(out) < len(NAMES)


@settings(deadline=None)
@given(looks, st.lists(st.tuples(st.floats(0, 1000), st.booleans()), min_size=1, max_size=5))
def test_unknown_moves_nothing_whatever_was_before(story, silence):
    verdicts, now_s = {}, 0.0
    for wait_s, *look in story:
        now_s += wait_s
        verdicts = judge(seen(look), verdicts, now_s)
    before = unfit(verdicts)
    for wait_s, fresh in silence:
        now_s += wait_s
        nothing = [
            sight(name, fresh=fresh, uplink=UNKNOWN, hop=UNKNOWN, controller=UNKNOWN) if fresh
            else sight(name, fresh=False, uplink=BAD)
            for name in NAMES
        ]  # fmt: skip
        verdicts = judge(nothing, verdicts, now_s)
        assert unfit(verdicts) == before


@settings(deadline=None)
@given(looks)
def test_only_a_gateway_with_something_bad_falls(story):
    verdicts, now_s = {}, 0.0
    for wait_s, *look in story:
        now_s += wait_s
        before, verdicts = verdicts, judge(seen(look), verdicts, now_s)
        for name, (fresh, up, hop) in zip(NAMES, look, strict=True):
            was_fit = (name, "ext") not in before or before[name, "ext"].is_fit
            if was_fit and not verdicts[name, "ext"].is_fit:
                assert fresh
                assert BAD in (up, hop)
