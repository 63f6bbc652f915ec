"""The report of one run as a single page: opens without a network, the same bytes for the same record.

It must be readable by somebody who has never seen Ovenbird: the verdict and its reasons first, then the figures beside
their limits and the machine's noise, then what happened. This module must never judge, nor leave out a violation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.resources import files

from ovenbird.drill.computing import told
from ovenbird.drill.invariants import Violation
from ovenbird.drill.judge import Outcome
from ovenbird.drill.judged import HELD, VIOLATED, Judged
from ovenbird.drill.lanes import telling
from ovenbird.drill.markup import Child, Markup, join, tag
from ovenbird.drill.outage import NS_PER_MS, SESSIONS
from ovenbird.drill.plot import patterns, plot, view_streams, views
from ovenbird.drill.plot_view import View
from ovenbird.drill.record import Event, RunRecord

MOST_EVENTS = 400
MOST_VIOLATIONS = 50
"""Per page; the rest is in the folder's files, and the page says so."""
MOST_CHARACTERS = 600
"""Of one text of the record."""
NS_PER_S = 1_000 * NS_PER_MS
STYLE = files("ovenbird.drill").joinpath("report.css").read_text(encoding="utf-8")
LINKS = (
    ("#figures", "Figures"),
    ("#plots", "What happened"),
    ("#streams", "Streams"),
    ("#invariants", "Invariants"),
    ("#timeline", "Timeline"),
    ("#repeat", "Run it again"),
)
MARKS = {
    Outcome.PASS: ("✓ PASS", "pass"),
    Outcome.FAIL: ("✗ FAIL", "fail"),
    Outcome.INVALID: ("? INVALID", "invalid"),
}


def page(record: RunRecord, judged: Judged) -> str:
    """Return the whole page."""
    meta = record.meta
    shown = views(record)
    title = f"{meta.drill}: {judged.outcome.value}, seed {meta.seed}"
    body = tag(
        "body",
        tag("a", "Skip to the verdict", href="#verdict", class_="skip"),
        tag(
            "main",
            _head(record, judged),
            _verdict(judged),
            _figures(judged),
            _plots(record, shown),
            _streams(record, judged),
            _invariants(judged),
            _timeline(record),
            _repeat(record),
            _surroundings(record, judged),
        ),
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("style", Markup(STYLE)),
    )
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def command(record: RunRecord) -> str:
    """Return the command that repeats the run."""
    baseline = " --baseline" if record.meta.baseline else " --live" if record.meta.live else ""
    return f"ovenbird drill run {record.meta.drill} --seed {record.meta.seed}{baseline}"


def _head(record: RunRecord, judged: Judged) -> Markup:
    meta = record.meta
    where = f"the live cluster, from host {meta.live}" if meta.live else f"lab {meta.lab}"
    measured = "stock OVN, with Ovenbird's agents and controllers stopped" if meta.baseline else "OVN under Ovenbird"
    when = datetime.fromtimestamp(meta.started_ns // NS_PER_S, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return tag(
        "header",
        tag("h1", f"Drill {meta.drill}"),
        tag("p", f"{judged.what[:1].upper()}{judged.what[1:]}."),
        tag("p", f"Measured: {measured}; {where}; {when}; seed {meta.seed}.", class_="soft"),
        tag("nav", (tag("a", text, href=target) for target, text in LINKS), aria_label="Sections"),
    )


def _verdict(judged: Judged) -> Markup:
    word, kind = MARKS[judged.outcome]
    parts = [tag("p", _headline(judged))]
    if judged.verdict.reasons:
        parts.append(tag("ul", (tag("li", _short(reason)) for reason in judged.verdict.reasons)))
    if judged.is_expected:
        parts.append(tag("p", f"This failure is expected today: {judged.expected_failure}."))
    elif judged.expected_failure and judged.outcome is Outcome.PASS:
        parts.append(tag("p", f"A surprise: it was expected to fail ({judged.expected_failure})."))
    return tag(
        "section", tag("b", word), tag("div", parts), class_=f"verdict {kind}", id="verdict", aria_label="Verdict"
    )


def _headline(judged: Judged) -> str:
    figures = judged.verdict.figures
    if judged.outcome is Outcome.INVALID:
        return "This run proves nothing, and no figure of it counts."
    parts = []
    if figures.outage_ms is not None:
        parts.append(f"The longest time without a delivered packet was {_ms(figures.outage_ms)}")
    if figures.write_outage_ms is not None:
        parts.append(f"the longest time without an acknowledged write {_ms(figures.write_outage_ms)}")
    if not parts:
        return "Nothing was measured but the invariants."
    return f"{'; '.join(parts)}. With nothing broken it was {_ms(figures.noise_ms)} on this machine."


# Figures.


def _figures(judged: Judged) -> Markup:
    figures = judged.verdict.figures
    rows = (
        ("Outage of ICMP and UDP", "for how long the path was gone", figures.path_outage_ms, None),
        (
            "Outage of TCP",
            "largest gap in a connection: it goes on with its first retransmission after the path is back",
            figures.tcp_outage_ms,
            None,
        ),
        (
            "Outage of writes",
            "longest time without an acknowledged write",
            figures.write_outage_ms,
            judged.write_limit_ms,
        ),
        ("Outage of NB", "longest time in which no write reached NB", figures.nb_outage_ms, judged.nb_limit_ms),
        ("Lost", "for how long every packet of an ICMP or UDP stream was lost, not late", figures.lost_ms, None),
        ("Outage on return", "largest gap after the outage was over", figures.return_outage_ms, judged.return_limit_ms),
        ("Lost on return", "the same after the outage was over", figures.lost_return_ms, None),
        ("Back in service", "from the fault until all was in service again", figures.back_in_service_ms, None),
    )
    body = [_packets(judged)]
    body += [
        [tag("strong", name), what, _ms(value), _ms(limit), _against(value, limit), _ms(figures.noise_ms)]
        for name, what, value, limit in rows
    ]
    note = (
        "A gap contains the normal spacing of packets; nothing is subtracted. Noise is the largest gap before the "
        "fault: what this machine does to packets when nothing is broken."
    )
    table = _table(["Figure", "What it is", "Measured", "Limit", "", "Noise"], body, numbers=(2, 3, 5))
    return tag("section", tag("h2", "Figures"), table, tag("p", note, class_="soft"), id="figures")


def _packets(judged: Judged) -> list[Child]:
    """Return the row of the outage of packets; its limit is that of the worst stream, as each may have its own."""
    figures = judged.verdict.figures
    name, limit = judged.worst_stream, judged.packet_limit_ms
    over = [
        each
        for each, one in sorted(figures.streams.items())
        if one["outage_ms"] > (judged.stream_limits_ms.get(each) or float("inf"))
    ]
    state = (
        tag("span", f"✗ over: {over[0]}" if len(over) == 1 else f"✗ over in {len(over)} streams", class_="bad")
        if over
        else _against(figures.outage_ms, limit)
    )
    what = f"largest gap in any stream, from the fault on; worst: {name}" if name else "no stream was measured"
    noise = _ms(figures.noise_ms)
    return [tag("strong", "Outage of packets"), what, _ms(figures.outage_ms), _ms(limit), state, noise]


def _against(value: float | None, limit: float | None) -> Child:
    if value is None:
        return tag("span", "not measured", class_="soft")
    if limit is None:
        return tag("span", "no limit", class_="soft")
    return tag("span", "✓ within", class_="good") if value <= limit else tag("span", "✗ over", class_="bad")


def _streams(record: RunRecord, judged: Judged) -> Markup:
    figures = judged.verdict.figures.streams
    kinds = {stream.name: stream for stream in record.streams}
    rows = []
    for name in sorted(figures):
        one, limit = figures[name], judged.stream_limits_ms.get(name)
        stream = kinds.get(name)
        worst = max(one["outage_ms"], 0.0 if judged.return_limit_ms is not None else one["return_outage_ms"])
        rows.append(
            [
                tag("strong", name),
                stream.kind if stream else "?",
                f"{stream.interval_ms:g} ms" if stream else "?",
                f"{one['sent']:.0f}",
                f"{one['lost']:.0f}",
                _ms(one["outage_ms"]),
                _ms(one["return_outage_ms"]),
                _ms(limit),
                _against(worst, limit),
                str(len(stream.breaks)) if stream and stream.kind in SESSIONS else "-",
            ]
        )
    heads = ["Stream", "Kind", "Spacing", "Sent", "Lost", "Outage", "On return", "Limit", "", "Broken connections"]
    table = _table(heads, rows, numbers=(2, 3, 4, 5, 6, 7, 9))
    writes = [write.outcome for write in record.writes]
    counts = ", ".join(f"{writes.count(word)} {word}" for word in ("acked", "refused", "unknown"))
    words = tag("p", f"Writes through the API: {len(writes)} sent, {counts}.", id="writes") if writes else ""
    return tag("section", tag("h2", "Streams and writes"), table, words, id="streams")


# What happened.


def _plots(record: RunRecord, shown: Sequence[View]) -> Markup:
    figures = [
        tag(
            "figure",
            tag("h3", view.title),
            _left_out(record, view),
            tag("div", plot(record, view), class_="scroll", tabindex="0", role="region", aria_label=view.title),
        )
        for view in shown
    ]
    swatch = {"width": "22", "height": "12", "aria_hidden": "true"}
    keys = (
        (tag("rect", x=0, y=0, width=22, height=12, class_="loss"), "lost packets: height is the share that was lost"),
        (
            tag("path", d="M2 12v-6M6 12v-9M10 12v-5M14 12v-10M18 12v-4", class_="latency"),
            "latency, least to most, logarithmic",
        ),
        (tag("path", d="M2 10v-6h18v6", class_="gap"), "largest gap between delivered packets"),
        (join([tag("rect", x=0, y=0, width=22, height=12, class_="band")]), "the fault is in force"),
        (tag("rect", x=0, y=0, width=22, height=12, class_="hole"), "nobody was seen to hold it"),
        (tag("path", d="M7 2l8 8M7 10l8 -8", class_="mark"), "write not acknowledged; daemon gone"),
        (tag("circle", cx=11, cy=6, r=4, class_="started"), "daemon started"),
        (tag("path", d="M6 11h10l-5 -10z", class_="error"), "error in a log"),
    )
    legend = tag("ul", (tag("li", tag("svg", shape, **swatch), text) for shape, text in keys), class_="key")
    note = (
        "Packets are drawn where they were sent. No column averages: its slowest packet and every lost one "
        "are shown. The same facts are in the tables below."
    )
    return tag(
        "section", tag("h2", "What happened"), patterns(), legend, figures, tag("p", note, class_="soft"), id="plots"
    )


def _left_out(record: RunRecord, view: View) -> Child:
    quiet = len(record.streams) - len(view_streams(record, view))
    return tag("figcaption", f"{quiet} streams without a gap in this time are not drawn.") if quiet else ""


def _invariants(judged: Judged) -> Markup:
    by_name: dict[str, list[Violation]] = {}
    for violation in judged.verdict.violations:
        by_name.setdefault(violation.invariant, []).append(violation)
    rows = []
    for one in judged.invariants:
        kind = {HELD: ("✓", "good"), VIOLATED: ("✗", "bad")}.get(one.state, ("?", "unsure"))
        evidence = [_evidence(violation) for violation in by_name.get(one.name, [])[:MOST_VIOLATIONS]]
        more = len(by_name.get(one.name, [])) - len(evidence)
        if more > 0:
            evidence.append(tag("p", f"and {more} more, in verdict.json"))
        rows.append(
            [tag("span", f"{kind[0]} {one.state}", class_=kind[1]), tag("code", one.name), [one.what, *evidence]]
        )
    table = _table(["", "Invariant", "What must hold, and what was seen"], rows)
    return tag("section", tag("h2", "Invariants"), table if rows else tag("p", "None was asked for."), id="invariants")


def _evidence(violation: Violation) -> Markup:
    evidence = tag("pre", _short(violation.evidence)) if violation.evidence else ""
    return tag("div", tag("strong", _short(violation.what)), evidence)


def _timeline(record: RunRecord) -> Markup:
    events = telling(record.timeline)
    table = _events(events[:MOST_EVENTS], record)
    more = len(events) - MOST_EVENTS
    note = tag("p", f"{more} later events are in timeline.jsonl.") if more > 0 else ""
    summary = tag("summary", f"{min(len(events), MOST_EVENTS)} events, in seconds from the fault")
    return tag("section", tag("h2", "Timeline"), tag("details", summary, table, note, open="open"), id="timeline")


def _events(events: Iterable[Event], record: RunRecord) -> Markup:
    rows = [
        [
            f"{(event.at_ns - record.fault_ns) / NS_PER_S:+.3f}",
            tag("code", event.kind),
            event.subject,
            _short(event.what),
        ]
        for event in events
    ]
    return _table(["Seconds", "Event", "Subject", "What"], rows, numbers=(0,))


# How to repeat it, and on what.


def _repeat(record: RunRecord) -> Markup:
    lines = f"{command(record)}\novenbird drill rejudge FOLDER    # judge this run by today's rules"
    return tag(
        "section",
        tag("h2", "Run it again"),
        tag("pre", tag("code", lines)),
        tag("p", "The seed decides the phase of the fault and every random choice of the drill.", class_="soft"),
        id="repeat",
    )


def _surroundings(record: RunRecord, judged: Judged) -> Markup:
    meta = record.meta
    files = (
        ("run.json", "what was run, where and when"),
        ("timeline.jsonl", f"{len(record.timeline)} events, one per line"),
        ("streams/", f"{len(record.streams)} streams: every packet sent and received, unix nanoseconds"),
        ("writes.jsonl", f"{len(record.writes)} writes with their acknowledgements"),
        ("final.json", "the cluster after everything was healed"),
        ("logs/", "what the daemons logged during the run"),
        ("totals.json", "how much was recorded, with digests: a record that lost something is noticed"),
        ("verdict.json", f"this verdict, by the rules of Ovenbird {judged.checker or 'of an unknown version'}"),
    )
    tables = tag(
        "div",
        _facts("Versions", sorted(meta.versions.items())),
        _facts("Machine", sorted(meta.machine.items())),
        _facts("Files of this run's folder", files),
        class_="columns",
    )
    said = (*meta.notes, *told(meta.computing))
    notes = tag("ul", (tag("li", _short(note)) for note in said)) if said else ""
    return tag("section", tag("h2", "Surroundings"), tables, notes, id="surroundings")


def _facts(title: str, facts: Iterable[tuple[str, str]]) -> Markup:
    return tag("div", tag("h3", title), _table([], [[tag("code", key), value] for key, value in facts]))


def _table(heads: Sequence[str], rows: Iterable[Sequence[Child]], *, numbers: Sequence[int] = ()) -> Markup:
    def kind(at: int) -> str | None:
        return "n" if at in numbers else None

    head = tag("thead", tag("tr", (tag("th", text, class_=kind(at), scope="col") for at, text in enumerate(heads))))
    body = (tag("tr", (tag("td", cell, class_=kind(at)) for at, cell in enumerate(row))) for row in rows)
    return tag("div", tag("table", head if heads else "", tag("tbody", body)), class_="scroll")


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f} ms".replace(",", "\N{NARROW NO-BREAK SPACE}")


def _short(text: str) -> str:
    """Return a text of the record, cut if it is very long."""
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}… ({len(text)} characters)"
