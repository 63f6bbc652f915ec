"""Which pairs of gateways must not be in one group: evidence, patience, and the way back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from ovenbird.plan.hold_down import HoldDown
from ovenbird.plan.separation import (
    HEARD_S,
    SETTLE_NEW_S,
    SETTLE_S,
    SILENT_S,
    STEADY_S,
    Host,
    Separated,
    Watch,
    Why,
    judge,
    kept,
    needs_confirmation,
    read,
    written,
)

HOLD_DOWN = HoldDown(first_s=8.0, longest_s=12.0)
G12 = frozenset(("g1", "g2"))


def host(name: str, *, silent_s: float = 1.0, confirms: bool = True, carries: bool = True, **bfd: bool) -> Host:
    is_gateway = name.startswith("g")
    return Host(name=name, is_gateway=is_gateway, silent_s=silent_s, confirms=confirms, bfd=bfd, carries=carries)


def keep(
    order: Sequence[str], watch: Watch, *, carrier: str | None = None, members: Sequence[str] | None = None
) -> tuple[str, ...]:
    return kept(order, order if members is None else members, carrier, watch.separated)


def run(watch: Watch, hosts: Iterable[Host], *moments_s: float) -> Watch:
    there = tuple(hosts)
    for now_s in moments_s:
        watch = judge(there, watch, now_s, HOLD_DOWN)
    return watch


WELL = (host("g1", g2=True, n1=True), host("g2", g1=True, n1=True), host("n1", g1=True, g2=True))
CUT = (host("g1", g2=False, n1=True), host("g2", g1=False, n1=True), host("n1", g1=True, g2=True))
STEADY = run(Watch(), WELL, 0.0, STEADY_S)
"""A watch that has long seen both at work."""


def test_two_that_miss_only_each_other_are_parted_after_a_moment() -> None:
    watch = run(STEADY, CUT, 10.0)
    assert not watch.separated
    assert watch.is_waiting
    watch = run(watch, CUT, 10.0 + SETTLE_S)
    assert watch.separated[G12].why is Why.PARTITION
    assert keep(("g1", "g2"), watch) == ("g1",)
    assert keep(("g2", "g1"), watch) == ("g2",), "each router keeps the one that it has"
    assert keep(("g1", "g3", "g2"), watch) == ("g1", "g3")


def test_a_gateway_that_just_came_into_service_is_given_time() -> None:
    young = run(Watch(), CUT, 0.0, SETTLE_S, SETTLE_NEW_S - 0.1)
    assert not young.separated
    assert run(young, CUT, SETTLE_NEW_S).separated


def test_a_dead_gateway_is_no_partition() -> None:
    # What it told last: that it saw everybody.
    hosts = (host("g1", g2=False, n1=True), host("g2", silent_s=5.0, g1=True, n1=True), host("n1", g1=True, g2=False))
    assert not run(STEADY, hosts, 10.0, 20.0, 30.0).separated


def test_what_a_dead_one_told_of_an_earlier_partition_counts_for_nothing() -> None:
    hosts = (host("g1", silent_s=5.0, g2=False, n1=True), host("g2", g1=False, n1=True), host("n1", g1=False, g2=True))
    assert not run(STEADY, hosts, 10.0, 20.0, 30.0).separated


def test_one_that_sees_nobody_is_cut_off_itself() -> None:
    hosts = (host("g1", g2=False, n1=True), host("g2", g1=False, n1=False), host("n1", g1=True, g2=False))
    assert not run(STEADY, hosts, 10.0, 20.0, 30.0).separated


def test_one_end_alone_proves_nothing() -> None:
    one_way = (host("g1", g2=False, n1=True), host("g2", g1=True, n1=True), host("n1", g1=True, g2=True))
    assert not run(STEADY, one_way, 10.0, 20.0).separated
    silent = (CUT[0], replace(CUT[1], silent_s=HEARD_S + 1), CUT[2])
    assert not run(STEADY, silent, 10.0, 20.0).separated
    unknown = (CUT[0], replace(CUT[1], silent_s=None), CUT[2])
    assert not run(STEADY, unknown, 10.0, 20.0).separated


def test_together_again_after_a_hold_down_that_grows() -> None:
    parted = run(STEADY, CUT, 10.0, 11.0)
    healed = run(parted, WELL, 20.0)
    assert run(healed, WELL, 20.0 + HOLD_DOWN.first_s - 1).separated
    together = run(healed, WELL, 20.0 + HOLD_DOWN.first_s)
    assert not together.separated
    again = run(together, CUT, 40.0, 41.0)
    back = run(again, WELL, 50.0)
    assert run(back, WELL, 50.0 + HOLD_DOWN.first_s).separated, "a relapse doubles it"
    assert run(back, WELL, 50.0 + HOLD_DOWN.longest_s - 1).separated
    assert not run(back, WELL, 50.0 + HOLD_DOWN.longest_s).separated, "up to a limit"


def test_a_blink_begins_the_hold_down_anew() -> None:
    parted = run(STEADY, CUT, 10.0, 11.0)
    blinked = run(parted, WELL, 20.0, 25.0)
    blinked = run(run(blinked, CUT, 26.0), WELL, 27.0)
    assert run(blinked, WELL, 20.0 + HOLD_DOWN.first_s).separated


def test_when_the_kept_one_dies_the_other_may_take_over_at_once() -> None:
    parted = run(STEADY, CUT, 10.0, 11.0)
    hosts = (host("g1", silent_s=1.0, g2=False, n1=True), host("g2", g1=False), host("n1", g1=False))
    assert not run(parted, hosts, 12.0).separated


def test_a_dead_gateway_that_still_carries_something() -> None:
    dead = host("g1", silent_s=SILENT_S, confirms=False, g2=True)
    watch = run(Watch(), (dead, host("g2", g1=False)), 100.0)
    assert watch.separated[G12] == Separated(why=Why.UNPAIRED, lost="g1", falls_s=(100.0,))
    assert keep(("g1", "g2"), watch, carrier="g1") == ("g2",)
    assert keep(("g1", "g2"), watch, carrier="g2") == ("g1", "g2"), "OVN has moved it: nothing need be done"
    assert keep(("g2", "g1"), watch, carrier="g2", members=("g2",)) == ("g2",), "what was taken out stays out"


def test_it_takes_every_witness_to_call_a_gateway_dead() -> None:
    alone = host("g2", g1=False)
    dead = host("g1", silent_s=SILENT_S, confirms=False, g2=True)
    for not_quite in (
        (replace(dead, silent_s=SILENT_S - 1), alone),
        (replace(dead, silent_s=None), alone),
        (replace(dead, confirms=True), alone),
        (replace(dead, confirms=None), alone),
        (dead, replace(alone, bfd={"g1": True})),
        (dead, replace(alone, bfd={"g1": None})),
        (replace(dead, carries=False), alone),
        (dead, replace(alone, confirms=False)),
        (dead, replace(alone, silent_s=SILENT_S)),
        (dead, alone, host("n1", g1=True)),
    ):
        assert not run(Watch(), not_quite, 100.0, 200.0).separated, not_quite


def test_a_dead_one_that_is_back_comes_back_after_a_hold_down() -> None:
    dead = host("g1", silent_s=SILENT_S, confirms=False, g2=True)
    watch = run(Watch(), (dead, host("g2", g1=False)), 100.0)
    watch = run(watch, (host("g1", g2=False), host("g2", g1=False)), 110.0)
    assert watch.separated, "heard is not seen"
    both = (host("g1", g2=True), host("g2", g1=True))
    assert run(watch, both, 120.0).separated
    assert not run(watch, both, 120.0, 120.0 + HOLD_DOWN.first_s).separated


def test_of_a_pair_that_dies_in_turn_the_living_one_is_kept() -> None:
    first = run(Watch(), (host("g1", silent_s=SILENT_S, confirms=False), host("g2", g1=False)), 100.0)
    then = run(first, (host("g1", g2=False), host("g2", silent_s=SILENT_S, confirms=False, g1=False)), 110.0)
    assert then.separated[G12].lost == "g2"
    assert keep(("g2", "g1"), then, carrier="g2") == ("g1",)


def test_a_silent_gateway_is_asked_before_it_is_called_dead() -> None:
    assert needs_confirmation((host("g1", silent_s=SILENT_S), host("g2", g1=False)))
    assert not needs_confirmation((host("g1", silent_s=SILENT_S), host("g2", g1=True)))
    assert not needs_confirmation((host("g1", silent_s=SILENT_S, carries=False), host("g2", g1=False)))
    assert not needs_confirmation((host("g1", silent_s=SILENT_S, confirms=False), host("g2", g1=False)))


def test_what_is_written_is_read_again() -> None:
    there = {G12: Separated(why=Why.PARTITION), frozenset(("g1", "g3")): Separated(why=Why.UNPAIRED, lost="g3")}
    assert read(written(there)) == there
    assert read(["", "partition g1", "other g1 g2", "partition g1 g1"]) == {}


NAMES = ("g1", "g2", "g3", "n1")
HOSTS = st.tuples(
    *(
        st.builds(
            Host,
            name=st.just(name),
            is_gateway=st.just(name != "n1"),
            silent_s=st.sampled_from((None, 1.0, 8.0, 20.0)),
            confirms=st.sampled_from((None, True, False)),
            carries=st.booleans(),
            bfd=st.dictionaries(
                st.sampled_from([other for other in NAMES if other != name]), st.sampled_from((None, True, False))
            ),
        )
        for name in NAMES
    )
)


@given(st.lists(HOSTS, max_size=6), st.permutations(("g1", "g2", "g3")), st.sampled_from((None, "g1", "g2", "g3")))
def test_whatever_is_seen_a_router_keeps_a_gateway(
    looks: list[tuple[Host, ...]], order: list[str], carrier: str | None
) -> None:
    watch = Watch()
    for at, hosts in enumerate(looks):
        watch = judge(hosts, watch, 5.0 * at, HOLD_DOWN)
        for size in (1, 2, 3):
            assert keep(order[:size], watch, carrier=carrier)
