"""One history out of several members' tales: late ones invent nothing, lost ones hide nothing."""

from ovenbird.drill.merged import MergedHistory


def test_what_a_late_member_shows_is_no_news() -> None:
    history: MergedHistory[str] = MergedHistory(recurs=True)
    assert history.heard("a", "g1", first=True)
    assert not history.heard("b", "g1", first=True)
    assert [history.heard("a", state) for state in ("g2", "g1", "g2")] == [True, True, True]
    assert [history.heard("b", state) for state in ("g2", "g1", "g2")] == [False, False, False]
    assert history.heard("b", "g1")
    assert history.states == ["g1", "g2", "g1", "g2", "g1"]


def test_the_same_state_again_is_no_news() -> None:
    history: MergedHistory[str] = MergedHistory(recurs=True)
    assert history.heard("a", "g1", first=True)
    assert not history.heard("a", "g1")


def test_a_member_that_was_cut_off_is_not_believed_against_one_that_was_not() -> None:
    history: MergedHistory[str] = MergedHistory(recurs=True)
    for state in ("g1", "g2"):
        history.heard("a", state)
    assert not history.heard("b", "g1", first=True)
    assert not history.heard("b", "g2")
    assert history.states == ["g1", "g2"]


def test_after_all_were_lost_a_state_may_have_recurred() -> None:
    history: MergedHistory[str] = MergedHistory(recurs=True)
    for state in ("g1", "g2"):
        history.heard("a", state)
    history.lost("a")
    assert history.heard("b", "g1", first=True)
    assert not history.heard("a", "g1", first=True)


def test_what_only_grows_does_not_recur_even_then() -> None:
    history: MergedHistory[int] = MergedHistory(recurs=False)
    for epoch in (1, 2):
        history.heard("a", epoch)
    history.lost("a")
    assert not history.heard("b", 1, first=True)
    assert not history.heard("b", 2)
    assert history.heard("b", 1), "seen to go back by one and the same member: no lag explains that"
