"""Verdicts on runs, from records made by hand."""

from dataclasses import replace

from ovenbird.drill.judge import Bite, Expect, Outcome, Verdict, judge
from ovenbird.drill.outage import NS_PER_MS, Record
from ovenbird.drill.record import (
    ARP_ANSWERED,
    EPOCH_CHANGED,
    GATEWAY_CLAIMED,
    PROCESSOR_STOLEN,
    ROLE_CHANGED,
    Event,
    Meta,
    RunRecord,
    Window,
    Write,
)

FAULT_MS, HEAL_MS, BACK_MS, END_MS = 2000, 2000, 8000, 12000
EXPECT = Expect(streams={"snat": 1500.0}, bite=Bite.STREAMS, return_outage_ms=2500.0, invariants=())


def stream(*silences: tuple[int, int], name: str = "snat", kind: str = "icmp") -> Record:
    """A stream at 5 ms spacing that delivers nothing during the silences (milliseconds, ends not included)."""
    times = range(0, END_MS + 5, 5)
    return Record(
        name=name,
        interval_ms=5,
        kind=kind,
        sent=[(i, at * NS_PER_MS) for i, at in enumerate(times)],
        received=[
            (i, at * NS_PER_MS) for i, at in enumerate(times) if not any(start < at < end for start, end in silences)
        ],
    )


def run(*streams: Record, back_ms: int | None = BACK_MS, bit: bool = True, writes: tuple[Write, ...] = ()) -> RunRecord:
    window = Window(
        fault="kill", targets=("g1",), injected_ns=FAULT_MS * NS_PER_MS, healed_ns=HEAL_MS * NS_PER_MS, verified=bit
    )
    return RunRecord(
        meta=Meta(
            drill="t",
            seed=1,
            lab="t",
            baseline=False,
            started_ns=0,
            load_started_ns=0,
            ended_ns=END_MS * NS_PER_MS,
            windows=(window,),
            back_ns=None if back_ms is None else back_ms * NS_PER_MS,
            detect_limit_ms=600,
        ),
        streams=streams,
        writes=writes,
    )


def write(number: int, at_ms: int, outcome: str = "acked") -> Write:
    at_ns = at_ms * NS_PER_MS
    return Write(number=number, object=f"w{number}", sent_ns=at_ns, answered_ns=at_ns, outcome=outcome)


def test_outage_and_return_are_told_apart():
    verdict = judge(run(stream((2000, 2650), (8000, 8900))), EXPECT)
    assert verdict.outcome is Outcome.PASS
    assert verdict.figures.outage_ms == 650
    assert verdict.figures.return_outage_ms == 900
    assert verdict.figures.back_in_service_ms == 6000
    assert verdict.figures.noise_ms == 5


def test_a_return_without_a_gap_is_not_charged_with_the_outage_before():
    assert judge(run(stream((2000, 2650))), EXPECT).figures.return_outage_ms == 5


def test_the_worst_stream_counts_and_each_has_its_own_limit():
    verdict = judge(run(stream((2000, 2100)), stream((2000, 2600), name="east-west")), EXPECT)
    assert verdict.figures.outage_ms == 600
    assert verdict.outcome is Outcome.FAIL
    assert verdict.reasons == ("east-west: an outage of 600 ms, the limit is 150 ms",)


def test_what_the_path_cost_is_told_apart_from_what_tcp_made_of_it():
    path, tcp = stream((2000, 2650), (8000, 8030)), stream((2000, 3500), (8000, 8200), name="snat-tcp", kind="tcp")
    expect = replace(EXPECT, streams={"snat*": 4000.0})
    figures = judge(run(path, tcp), expect).figures
    assert (figures.outage_ms, figures.path_outage_ms, figures.tcp_outage_ms) == (1500, 650, 1500)
    assert (figures.return_outage_ms, figures.path_return_ms) == (200, 30)
    assert (figures.lost_ms, figures.lost_return_ms) == (645, 25), (
        "from the first that was lost to the next that was not"
    )
    assert judge(run(stream()), replace(expect, bite=Bite.NOWHERE)).figures.lost_ms == 0
    assert judge(run(path), expect).figures.tcp_outage_ms is None, "no connection, no figure"
    proves_nothing = judge(run(path, tcp, bit=False), expect).figures
    assert (proves_nothing.path_outage_ms, proves_nothing.tcp_outage_ms) == (None, None)


def unsent(stream: Record, start_ms: int, end_ms: int) -> Record:
    """The stream without what it sent in that time."""
    return replace(stream, sent=[one for one in stream.sent if not start_ms < one[1] / NS_PER_MS < end_ms])


def test_a_run_in_which_the_machine_stood_still_proves_nothing():
    silent = (stream((2000, 2650), (9000, 9070)), stream((2000, 2650), (9000, 9070), name="snat-udp", kind="udp"))
    expect = replace(EXPECT, streams={"snat*": 1500.0})
    assert judge(run(*silent), expect).figures.return_outage_ms == 70, "it sent, and was not answered"
    one = judge(run(unsent(silent[0], 9000, 9070), silent[1]), expect)
    assert one.outcome is Outcome.PASS, "that probe alone"
    stopped = run(*(unsent(each, 9000, 9070) for each in silent))
    verdict = judge(stopped, expect)
    assert verdict.outcome is Outcome.INVALID
    assert verdict.reasons == (
        "no probe in any place sent anything for 70 ms, 7.0 s after the fault: the machine stood still",
    )
    assert judge(replace(stopped, meta=replace(stopped.meta, live="n1")), expect).outcome is Outcome.PASS
    assert judge(run(*(unsent(each, 9000, 9025) for each in silent)), expect).outcome is Outcome.PASS
    seldom = run(*(replace(unsent(each, 9000, 9060), interval_ms=20) for each in silent))
    assert judge(seldom, expect).outcome is Outcome.PASS, "it sends every 20 ms"


def test_a_run_whose_machine_lost_a_processor_to_its_own_host_proves_nothing():
    def taken(at_ms: int, ms: float) -> Event:
        return Event(
            at_ns=at_ms * NS_PER_MS,
            kind=PROCESSOR_STOLEN,
            subject="cpu1",
            what=f"cpu1 for {ms:.0f} ms",
            data={"ms": ms, "between_ms": 50.0},
        )

    def verdict(*thefts: Event) -> Verdict:
        return judge(replace(run(stream((2000, 2650), (9000, 9035))), timeline=thefts), EXPECT)

    during = verdict(taken(1500, 30), taken(2600, 400))
    assert during.outcome is Outcome.INVALID
    assert during.reasons == ("cpu1 for 400 ms, 0.6 s after the fault, in a gap of 650 ms",)
    assert verdict(taken(9035, 30)).outcome is Outcome.INVALID, "the gap of the return"
    assert verdict(taken(2600, 300)).outcome is Outcome.PASS, "less than half of the gap: the rest was not its fault"
    assert verdict(taken(9035, 20)).outcome is Outcome.PASS, "steps of 10 ms: perhaps half of it"
    assert verdict(taken(1900, 100), taken(6000, 100)).outcome is Outcome.PASS, "while packets flowed"
    late = taken(3100, 400)
    assert verdict(late).outcome is Outcome.PASS
    assert verdict(replace(late, data={**late.data, "between_ms": 300.0})).outcome is Outcome.INVALID, "looked at late"


def test_a_pattern_gives_the_limit_of_all_streams_that_begin_so():
    expect = Expect(streams={"snat*": 1000.0}, return_outage_ms=2500.0, invariants=())
    assert judge(run(stream((2000, 2900), name="snat-udp")), expect).outcome is Outcome.PASS
    assert judge(run(stream((2000, 3100), name="snat-udp")), expect).outcome is Outcome.FAIL


def test_an_outage_over_its_limit_fails():
    verdict = judge(run(stream((2000, 3600))), EXPECT)
    assert verdict.outcome is Outcome.FAIL
    assert "1600 ms" in verdict.reasons[0]


def test_what_stays_away_fails():
    verdict = judge(run(stream((2000, 2600)), back_ms=None), EXPECT)
    assert verdict.outcome is Outcome.FAIL
    assert verdict.figures.return_outage_ms is None


def test_a_fault_that_did_not_bite_proves_nothing():
    assert judge(run(stream()), EXPECT).outcome is Outcome.INVALID
    unverified = judge(run(stream((2000, 2600)), bit=False), EXPECT)
    assert unverified.outcome is Outcome.INVALID
    assert unverified.figures.outage_ms is None


def test_a_load_below_its_floor_proves_nothing():
    thin = Record(name="snat", interval_ms=5, sent=stream().sent, received=stream().received[::2])
    verdict = judge(run(thin), EXPECT)
    assert verdict.outcome is Outcome.INVALID
    assert "floor" in verdict.reasons[0]


def test_what_was_on_its_way_when_the_fault_came_is_not_held_against_the_load():
    verdict = judge(run(stream((1900, 2600))), EXPECT)
    assert verdict.outcome is Outcome.PASS
    assert verdict.figures.outage_ms == 700
    before = judge(run(stream((1700, 1780), (2000, 2600))), EXPECT)
    assert before.outcome is Outcome.INVALID


def test_a_machine_that_is_too_busy_proves_nothing():
    late = [
        (seq, at + (300 * NS_PER_MS if 1000 * NS_PER_MS <= at < 1300 * NS_PER_MS else 0)) for seq, at in stream().sent
    ]
    noisy = Record(name="snat", interval_ms=5, sent=stream().sent, received=sorted(late, key=lambda pair: pair[1]))
    verdict = judge(run(noisy), EXPECT)
    assert verdict.outcome is Outcome.INVALID
    assert "too busy" in verdict.reasons[0]


def test_reads_and_commits_are_not_packets():
    slow = stream((1000, 1900), (2000, 5000), name="read", kind="read")
    nb = stream((2000, 4000), name="nb", kind="nb")
    verdict = judge(run(stream((2000, 2600)), slow, nb), EXPECT)
    assert verdict.outcome is Outcome.PASS
    assert verdict.figures.outage_ms == 600
    assert verdict.figures.nb_outage_ms == 2000
    limited = Expect(streams={"snat": 1500.0, "nb": 1900.0}, return_outage_ms=2500.0, invariants=())
    assert judge(run(stream((2000, 2600)), nb), limited).reasons == ("nb: an outage of 2000 ms, the limit is 1900 ms",)


def test_time_without_an_acknowledged_write_is_a_figure_with_a_limit():
    writes = tuple(write(i, at) for i, at in enumerate((*range(0, 2001, 100), *range(4500, 12001, 100)), start=1))
    expect = Expect(write_outage_ms=2000.0, invariants=(), return_outage_ms=2500.0)
    verdict = judge(run(stream(), writes=writes), expect)
    assert verdict.figures.write_outage_ms == 2500
    assert verdict.reasons == ("writes: an outage of 2500 ms, the limit is 2000 ms",)


def test_writes_that_were_not_acknowledged_before_the_fault_prove_nothing():
    writes = tuple(write(i, i * 100, "unknown") for i in range(1, 20))
    assert judge(run(stream((2000, 2600)), writes=writes), EXPECT).outcome is Outcome.INVALID


SESSIONS = Expect(
    streams={}, others_ms=4000.0, sessions_survive=True, breaking=frozenset({"snat-download"}),
    unfelt=frozenset({"distributed-tcp"}), return_outage_ms=2500.0, invariants=(),
)  # fmt: skip


def session(name: str, *silences: tuple[int, int], broke_ms: int | None = None, kind: str = "tcp") -> Record:
    breaks = [] if broke_ms is None else [(broke_ms * NS_PER_MS, "Connection reset by peer")]
    return replace(stream(*silences, name=name, kind=kind), breaks=breaks)


def test_a_connection_that_is_stated_to_survive_must():
    assert judge(run(session("plain-tcp", (2000, 2900))), SESSIONS).outcome is Outcome.PASS
    broken = judge(run(session("plain-tcp", (2000, 2900), broke_ms=2900)), SESSIONS)
    assert broken.outcome is Outcome.FAIL
    assert broken.reasons == ("plain-tcp: the connection broke: Connection reset by peer",)
    assert broken.figures.streams["plain-tcp"]["breaks"] == 1


def test_a_connection_that_is_stated_to_break_counts_for_no_limit_and_no_figure():
    stalled = session("snat-download", (2000, 12000), broke_ms=11000, kind="pull")
    verdict = judge(run(session("plain-tcp", (2000, 2900)), stalled), SESSIONS)
    assert (verdict.outcome, verdict.figures.outage_ms) == (Outcome.PASS, 900)
    assert verdict.figures.streams["snat-download"]["breaks"] == 1
    assert verdict.figures.streams["snat-download"]["outage_ms"] == 10000


def test_survival_of_a_connection_that_felt_nothing_proves_nothing():
    felt, spared = session("snat-tcp", (2000, 2900)), session("plain-tcp")
    verdict = judge(run(felt, spared, session("distributed-tcp")), SESSIONS)
    assert verdict.outcome is Outcome.INVALID
    assert verdict.reasons == ("the fault was not felt by plain-tcp",)


def claims(*seen: tuple[int, str]) -> tuple[Event, ...]:
    return tuple(
        Event(at_ns=ms * NS_PER_MS, kind=GATEWAY_CLAIMED, subject="cr-r", what=f"{chassis}", data={"chassis": chassis})
        for ms, chassis in seen
    )


def late(noise_ms: int, outage_ms: int) -> Record:
    """A stream that delivers all, some of it late: a pause before the fault, and one because of it."""
    pauses = ((500, 500 + noise_ms), (2000, 2000 + outage_ms))
    ends = {at: next((end for start, end in pauses if start < at < end), at) for at in range(0, END_MS + 5, 5)}
    whole = stream()
    received = [(seq, ends[at // NS_PER_MS] * NS_PER_MS) for seq, at in whole.received]
    return replace(whole, received=sorted(received, key=lambda pair: pair[1]))


def test_a_fault_is_felt_only_above_the_noise_of_its_own_run():
    verdict = judge(run(late(120, 150)), EXPECT)
    assert verdict.outcome is Outcome.INVALID
    assert verdict.reasons == ("no stream waited longer than 150 ms, and 120 ms with nothing broken: it was not felt",)
    assert judge(run(late(120, 200)), EXPECT).outcome is Outcome.PASS
    assert judge(run(late(20, 90)), EXPECT).outcome is Outcome.PASS


def test_a_crash_must_hit_who_carries_the_router_and_move_it():
    expect = replace(EXPECT, moves=True)
    made = run(stream((2000, 2650)))
    moved = replace(made, timeline=claims((100, "g1"), (2640, "g2"), (8000, "g1")))
    assert judge(moved, expect).outcome is Outcome.PASS
    stayed = judge(replace(made, timeline=claims((100, "g1"), (2300, ""), (2640, "g1"))), expect)
    assert (stayed.outcome, stayed.reasons) == (Outcome.INVALID, ("cr-r never left g1",))
    deaf = Event(at_ns=2700 * NS_PER_MS, kind=ARP_ANSWERED, subject="172.16.0.1", what="", data={"node": "g2"})
    assert judge(replace(made, timeline=(*claims((100, "g1")), deaf)), expect).outcome is Outcome.PASS
    missed = judge(replace(made, timeline=claims((100, "g2"), (2640, "g1"))), expect)
    assert (missed.outcome, missed.reasons) == (Outcome.INVALID, ("g1 was hit while g2 carried the router",))
    assert judge(made, expect).outcome is Outcome.INVALID


def test_a_router_that_leaves_too_soon_for_any_stream_to_feel_it_is_no_invalid_run():
    """Or only the slow ones of a quick failover would count."""
    expect = replace(EXPECT, moves=True)
    quick = replace(run(late(20, 60)), timeline=claims((100, "g1"), (2050, "g2"), (8000, "g1")))
    verdict = judge(quick, expect)
    assert (verdict.outcome, verdict.figures.path_outage_ms) == (Outcome.PASS, 60)
    assert judge(quick, EXPECT).outcome is Outcome.INVALID
    assert judge(replace(quick, timeline=claims((100, "g1"))), expect).outcome is Outcome.INVALID
    stock = judge(replace(quick, meta=replace(quick.meta, baseline=True)), expect)
    assert stock.outcome is Outcome.INVALID


def test_a_record_without_the_last_acknowledged_write_proves_nothing():
    """The planted bug: the newest write is dropped, which leaves no hole in the numbers."""
    writes = tuple(write(i, at) for i, at in enumerate(range(0, 12001, 100), start=1))
    whole = run(stream((2000, 2600)), writes=writes)
    counted = replace(whole, meta=replace(whole.meta, writes_sent=len(writes), writes_acked=len(writes)))
    assert judge(counted, EXPECT).outcome is Outcome.PASS
    dropped = judge(replace(counted, writes=writes[:-1]), EXPECT)
    assert dropped.outcome is Outcome.INVALID
    assert "the writer had acknowledged 121 writes, the record has 120: it cannot show a lost write" in dropped.reasons
    forged = replace(counted, writes=(*writes[:-1], replace(writes[-1], outcome="unknown", answered_ns=None)))
    assert judge(forged, EXPECT).outcome is Outcome.INVALID


def reigns(kind: str, key: str, *seen: tuple[int, int], **data: str) -> tuple[Event, ...]:
    return tuple(
        Event(at_ns=ms * NS_PER_MS, kind=kind, subject="x", what="", data={key: number, **data}) for ms, number in seen
    )


def test_who_is_hit_must_be_succeeded():
    made = run(stream((2000, 2650)))
    controller, nb = replace(EXPECT, succeeded=("controller",)), replace(EXPECT, succeeded=("nb",))
    taken = replace(made, timeline=reigns(EPOCH_CHANGED, "epoch", (100, 4), (2600, 5), holder="c2"))
    assert judge(taken, controller).outcome is Outcome.PASS
    kept = judge(replace(made, timeline=reigns(EPOCH_CHANGED, "epoch", (100, 4), (2600, 4), holder="c1")), controller)
    assert kept.outcome is Outcome.INVALID
    assert kept.reasons == ("the acting controller was not succeeded by another: the fault proves nothing",)
    leader = {"database": "nb", "role": "leader", "node": "c1"}
    elected = replace(made, timeline=reigns(ROLE_CHANGED, "term", (100, 2), (3600, 3), **leader))
    assert judge(elected, nb).outcome is Outcome.PASS
    other = {**leader, "database": "sb"}
    wrong = replace(made, timeline=reigns(ROLE_CHANGED, "term", (100, 2), (3600, 3), **other))
    assert judge(wrong, nb).outcome is Outcome.INVALID


def test_packets_that_the_labs_own_switches_dropped_prove_nothing():
    expect = Expect(streams={}, invariants=("east-west-lossless",))
    made = run(stream((4000, 4020), name="east-west"))
    assert judge(made, expect).reasons == ("east-west-lossless: east-west lost 3 packets",)
    dropped = judge(replace(made, meta=replace(made.meta, queue_drops={"n2": 3})), expect)
    assert dropped.outcome is Outcome.INVALID
    assert dropped.reasons[0].startswith("switches of the lab dropped packets before they saw them (n2: 3)")
    few = judge(replace(made, meta=replace(made.meta, queue_drops={"n2": 2})), expect)
    assert few.outcome is Outcome.FAIL
    whole = judge(replace(run(stream(name="east-west")), meta=replace(made.meta, queue_drops={"n2": 9})), expect)
    assert whole.outcome is Outcome.PASS


def spread_run(*gaps: tuple[int, int]) -> RunRecord:
    flows = [stream(gap, name=f"spread-{at:02}") for at, gap in enumerate(gaps)]
    return run(*flows)


def test_flows_over_several_gateways_are_felt_by_some_and_spared_the_others():
    expect = replace(EXPECT, streams={"spread-*": 1500.0}, spared_ms=200.0)
    verdict = judge(spread_run((2000, 2700), (2000, 2050), (2000, 2800), (2000, 2100)), expect)
    assert verdict.outcome is Outcome.PASS
    assert verdict.figures.spreading == {"flows": 4, "felt": 2, "felt_share": 0.5, "spared_outage_ms": 100.0}
    assert verdict.to_json()["spreading"] == verdict.figures.spreading
    disturbed = judge(spread_run((2000, 2700), (2000, 2250)), expect)
    assert disturbed.reasons == ("flows through other gateways waited up to 250 ms, the limit is 200 ms",)


def test_flows_that_all_feel_it_were_not_spread():
    expect = replace(EXPECT, streams={"spread-*": 1500.0}, spared_ms=200.0)
    assert judge(spread_run((2000, 2700), (2000, 2700)), expect).reasons == (
        "all 2 flows felt it: they were not spread",
    )
    assert judge(run(stream((2000, 2600))), EXPECT).figures.spreading is None
