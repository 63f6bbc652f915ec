"""Outage arithmetic: what a stranger would compute by hand from the timestamps."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from ovenbird.drill.outage import NS_PER_MS, Record, gaps, largest, loss
from ovenbird.drill.probe import checksum, echo_request, echo_request_6, parse_icmp, parse_reply


def record(arrivals_ms: list[float], sent_ms: list[float] | None = None) -> Record:
    sent = arrivals_ms if sent_ms is None else sent_ms
    return Record(
        name="t",
        interval_ms=5,
        sent=[(i, int(at * NS_PER_MS)) for i, at in enumerate(sent)],
        received=[(i, int(at * NS_PER_MS)) for i, at in enumerate(arrivals_ms)],
    )


def test_largest_gap_is_between_the_packets_around_the_silence():
    steady = [i * 5.0 for i in range(100)]
    arrivals = [at for at in steady if not 200 < at < 400]
    gap = largest(record(arrivals), 0, 500 * NS_PER_MS)
    assert gap.ms == 200.0
    assert gap.start_ns == 200 * NS_PER_MS


def test_a_gap_that_started_before_the_window_counts_whole():
    assert largest(record([0, 5, 300, 305]), 100 * NS_PER_MS, 305 * NS_PER_MS).ms == 295.0


def test_silence_to_the_end_is_a_gap():
    assert largest(record([0, 5, 10]), 0, 1000 * NS_PER_MS).ms == 990.0


def test_nothing_delivered_is_one_gap_as_long_as_the_window():
    assert largest(record([], sent_ms=[1, 2, 3]), 0, 70 * NS_PER_MS).ms == 70.0


def test_delivered_ratio_counts_requests_of_the_window_only():
    r = Record(name="t", interval_ms=5, sent=[(0, 0), (1, 10), (2, 20), (3, 30)], received=[(1, 15), (3, 99)])
    assert r.delivered_ratio(0, 25) == 1 / 3
    assert r.delivered_ratio(100, 200) == 0.0
    assert r.lost() == 2


def test_what_was_lost_is_told_apart_from_what_was_late():
    answered = [0, 1, 4, 5, 6, 9]  # 2 and 3 never; 7 and 8 never; 4 and 5 late
    r = Record(
        name="t",
        interval_ms=5,
        sent=[(seq, seq * 5 * NS_PER_MS) for seq in range(10)],
        received=[(seq, (seq * 5 + (70 if seq in (4, 5) else 1)) * NS_PER_MS) for seq in answered],
    )
    assert loss(r, 0, 50 * NS_PER_MS).ms == 10.0
    assert loss(r, 0, 12 * NS_PER_MS).ms == 2.0, "the window ends"
    assert loss(r, 16 * NS_PER_MS, 30 * NS_PER_MS).ms == 10.0, "a run that began before the window counts whole"
    assert loss(r, 20 * NS_PER_MS, 34 * NS_PER_MS).ms == 0.0
    assert loss(r, 20 * NS_PER_MS, 50 * NS_PER_MS).start_ns == 35 * NS_PER_MS
    assert largest(r, 0, 50 * NS_PER_MS).ms > 10.0


def test_what_is_never_answered_any_more_is_lost_until_the_end():
    r = Record(name="t", interval_ms=5, sent=[(seq, (1 + seq) * NS_PER_MS) for seq in range(10)], received=[])
    assert loss(r, 0, 30 * NS_PER_MS).ms == 29.0


@given(st.lists(st.floats(min_value=0, max_value=1000), min_size=1, max_size=50))
def test_gaps_cover_the_window_without_holes(arrivals):
    found = gaps(record(sorted(arrivals)), 0, 1000 * NS_PER_MS)
    assert found[0].start_ns <= 0 <= found[-1].end_ns
    assert all(a.end_ns == b.start_ns for a, b in itertools.pairwise(found))


@given(st.integers(0, 0xFFFF), st.integers(0, 2**32 - 1))
def test_an_answer_carries_its_request_home(identifier, sequence):
    request = echo_request(identifier, sequence)
    assert checksum(request) == 0
    ip_header = bytes([0x45]) + bytes(19)
    reply = bytes([0]) + request[1:]
    assert parse_reply(ip_header + reply, identifier) == sequence
    assert parse_reply(ip_header + reply, identifier ^ 1) is None
    assert parse_reply(ip_header + request, identifier) is None
    request = echo_request_6(identifier, sequence)
    reply = bytes([129]) + request[1:]
    assert parse_icmp(reply, 129, identifier) == sequence
    assert parse_icmp(reply, 129, identifier ^ 1) is None
    assert parse_icmp(request, 129, identifier) is None
