"""The page of a run: complete, escaped, bounded, self-contained, the same for the same record."""

import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from tests.core.run_records import (
    BACK_MS,
    DRILL,
    END_MS,
    FAULT_MS,
    at,
    event,
    record,
    role,
    stream,
    with_log_line,
    writes,
)

from ovenbird.drill.downsample import columns
from ovenbird.drill.judge import judge
from ovenbird.drill.judged import judged
from ovenbird.drill.lanes import lanes
from ovenbird.drill.plot import views
from ovenbird.drill.report_html import page
from ovenbird.drill.script import Drill

VOID = {"meta"}


class Page(HTMLParser):
    """Elements, ids, texts; fails on tags that do not match."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.ids: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self._note(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self._note(tag, attrs)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def _note(self, tag, attrs):
        self.tags[tag] += 1
        self.ids += [value for name, value in attrs if name == "id"]
        self.attributes += [(name, value or "") for name, value in attrs]

    @property
    def words(self) -> str:
        return " ".join(self.text)


def rendered(run, drill: Drill = DRILL) -> str:
    return page(run, judged(run, drill, judge(run, drill.expect), checker="0.2.0"))


def test_the_page_says_what_it_must():
    shown = Page(rendered(record()))
    for word in (
        "✓ PASS",
        "Kill -9 of the active gateway",
        "kill ovs-vswitchd g1",
        "back in service",
        "c1 (term 3)",
        "c3 (term 5)",
        "c1 (epoch 4)",
        "one-leader-per-term",
        "ovenbird drill run gateway-crash --seed 7",
        "23.03.1",
        "7.8 GiB",
        "200 sent, 200 acked, 0 refused, 0 unknown",
        "g2 carries drill-r",
        "Noise",
    ):
        assert word in shown.words, word
    assert shown.ids.count("verdict") == 1
    assert len(shown.ids) == len(set(shown.ids))
    assert shown.tags["figure"] == 3
    targets = [value[1:] for name, value in shown.attributes if name == "href"]
    assert set(targets) <= set(shown.ids)


def test_every_plot_is_well_formed_and_described():
    plots = re.findall(r'<svg class="plot".*?</svg>', rendered(record()), re.DOTALL)
    assert len(plots) == 3
    for each in plots:
        root = ElementTree.fromstring(each)
        assert root.find("desc").text.startswith("east-west: largest gap")
        assert root.get("role") == "img"


def test_the_page_needs_no_network_and_no_script():
    html = rendered(record())
    assert not re.search(r"https?:|//|@import|<script|<link|<img", html)
    assert re.findall(r"url\(([^)]*)\)", html) == ["#hatch"]


def test_nothing_of_a_record_becomes_markup():
    evil = '<script>alert("x")</script>&amp;\x00\x1b[0m'
    run = with_log_line(record(drill=f"a{evil}", lab=evil, notes=[evil], versions={evil: evil}), evil)
    run = replace(
        run,
        streams=[replace(each, name=f"{each.name}{evil}") for each in run.streams],
        timeline=[*run.timeline, role(5000, evil, evil, "leader", 9), event(5000, "x", evil, evil)],
        meta=replace(run.meta, windows=[replace(run.meta.windows[0], fault=evil, targets=(evil,))]),
    )
    html = rendered(run, replace(DRILL, what=evil, expected_failure=evil))
    assert "<script" not in html
    assert "\x00" not in html
    assert "\x1b" not in html
    shown = Page(html)
    assert 'alert("x")' in shown.words
    for each in re.findall(r'<svg class="plot".*?</svg>', html, re.DOTALL):
        ElementTree.fromstring(each)


def test_the_same_record_gives_the_same_bytes():
    assert rendered(record()) == rendered(record())


def test_a_violation_is_shown_with_its_evidence():
    run = record()
    objects = {name: value for name, value in run.final.objects.items() if value != 31}
    shown = Page(rendered(replace(run, final=replace(run.final, objects=objects))))
    assert "✗ FAIL" in shown.words
    assert "write 31 was acknowledged and is lost" in shown.words
    assert "drill-w31 not in the declared state" in shown.words
    assert shown.words.count("✗ violated") == 1


def test_an_invalid_run_shows_no_outage_figure():
    shown = Page(rendered(record(verified=False)))
    assert "? INVALID" in shown.words
    assert "could not verify its effect" in shown.words
    assert "proves nothing" in shown.words


def test_an_expected_failure_is_called_so():
    drill = replace(DRILL, expected_failure="nothing watches the uplink yet")
    late = record(stream("snat", (FAULT_MS, FAULT_MS + 3000)))
    assert "expected today: nothing watches the uplink yet" in Page(rendered(late, drill)).words
    assert "A surprise" in Page(rendered(record(), drill)).words


def test_a_baseline_is_named_and_repeated_as_one():
    shown = Page(rendered(record(baseline=True)))
    assert "stock OVN" in shown.words
    assert "--seed 7 --baseline" in shown.words


@pytest.mark.parametrize("end_ms", [END_MS, 3 * END_MS])
def test_the_size_is_bounded_by_columns_not_packets(end_ms):
    lost = ((FAULT_MS, FAULT_MS + 650), (BACK_MS, BACK_MS + 200))
    streams = [stream(f"snat-{number}", *lost, end_ms=end_ms) for number in range(4)]
    run = record(*streams, written=writes(end_ms=end_ms), ended_ns=at(end_ms))
    many = [event(ms, "log.line", "c1/nb", f"line {ms}", level="ERR", text="x") for ms in range(0, 9000)]
    html = rendered(replace(run, timeline=[*run.timeline, *many]))
    assert len(html) < 600_000
    assert "later events are in timeline.jsonl" in html


def test_an_empty_record_has_a_page_too():
    bare = replace(record(windows=[], back_ns=None), timeline=(), streams=(), writes=())
    Page(rendered(bare))


# Downsampling.


def test_one_lost_and_one_slow_packet_among_thousands_stay_visible():
    whole = stream("snat")
    received = [(seq, ns + (300_000_000 if seq == 2000 else 0)) for seq, ns in whole.received if seq != 1000]
    found = columns(replace(whole, received=received), at(0), at(END_MS), 100)
    assert len(found) == 100
    assert sum(each.sent for each in found) == 4000
    assert [each.at for each in found if each.lost] == [24]
    assert [each.at for each in found if each.max_ms > 290] == [49]


def test_a_duplicate_does_not_make_a_packet_late():
    whole = stream("snat")
    doubled = replace(whole, received=[*whole.received, (1, at(9000))])
    assert columns(doubled, at(0), at(END_MS), 50) == columns(whole, at(0), at(END_MS), 50)


# Lanes and views.


def lane(run, title):
    return next(each for each in lanes(run) if each.title == title)


def test_the_leaders_lane_has_the_time_without_leader():
    first, second = lane(record(), "sb leader").segments
    assert (first.label, first.end_ns) == ("c1 (term 3)", at(FAULT_MS + 1500))
    assert (second.label, second.start_ns, second.end_ns) == ("c3 (term 5)", at(FAULT_MS + 2600), at(END_MS))


def test_two_leaders_at_once_are_a_clash():
    run = record()
    run = replace(run, timeline=[*run.timeline, role(9000, "nb", "c2", "leader", 4)])
    segments = lane(run, "nb leader").segments
    assert [each.clash for each in segments] == [False, True]
    assert segments[1].label == "c1 (term 3) + c2 (term 4)"


def test_a_new_revision_is_no_new_controller():
    assert [each.label for each in lane(record(), "controller").segments] == ["c1 (epoch 4)"]


def test_answers_last_as_long_as_they_were_seen():
    (old,) = lane(record(), "ARP 172.16.0.201 by g1").segments
    (new,) = lane(record(), "ARP 172.16.0.201 by g2").segments
    assert old.end_ns == at(3980)
    assert (new.start_ns, new.end_ns) == (at(FAULT_MS + 655), at(END_MS))


def test_close_ups_hold_the_whole_outage_and_quiet_runs_have_none():
    whole, outage, back = views(record())
    assert (whole.start_ns, whole.end_ns) == (at(0), at(END_MS))
    assert outage.start_ns < at(FAULT_MS)
    assert outage.end_ns > at(FAULT_MS + 650)
    assert back.start_ns < at(BACK_MS) < at(BACK_MS + 200) < back.end_ns
    assert len(views(record(stream("snat"), windows=[]))) == 1
