"""Packets between workloads, which pass no gateway: what of them a run lost. It must never judge a loss."""

from __future__ import annotations

from ovenbird.drill.outage import Record
from ovenbird.drill.record import RunRecord

TAIL_NS = 1_000_000_000
"""What was sent in the last second of a run may still be under way when the probes stop."""


def between_workloads(record: RunRecord) -> list[Record]:
    """Return the streams that pass no gateway."""
    return [stream for stream in record.streams if stream.name.startswith("east-west")]


def lost_packets(stream: Record, record: RunRecord) -> tuple[list[int], list[tuple[int, bool]]]:
    """Return when what was lost was sent, and of each packet under load when it was sent and whether it came."""
    delivered = {seq for seq, _ in stream.received}
    until_ns = record.meta.ended_ns - TAIL_NS
    window = [(at, seq in delivered) for seq, at in stream.sent if record.meta.load_started_ns <= at < until_ns]
    return [at for at, came in window if not came], window
