"""The catalogue in words: everything that a run is held to can be read before it is run."""

from __future__ import annotations

import json

import pytest
from tests.faces.command import ovenbird

from ovenbird.drill.catalogue import BY_NAME, DRILLS
from ovenbird.drill.described import described, in_words
from ovenbird.drill.script import Drill


@pytest.mark.parametrize("drill", DRILLS, ids=lambda drill: drill.name)
def test_a_drill_names_its_load_fault_and_limits(drill: Drill) -> None:
    told, text = json.loads(json.dumps(described(drill))), in_words(drill)
    for fault in drill.faults:
        assert f"{fault.kind} on {fault.target}" in " ".join(told["steps"])
    assert told["expect"]["streams_ms"] == dict(drill.expect.streams)
    assert told["load"]["answered_floor"] == 0.99
    for line in (drill.what, "floor ", "limits ", *drill.expect.invariants):
        assert line in text


def test_durations_and_healing_are_told() -> None:
    told = described(BY_NAME["nb-leader-stop"])
    assert told["steps"] == ["stop on nb-leader daemon=nb", "leave it so for 10 s", "heal"]
    assert (told["safe_live"], told["detector"]) == (False, "election")


def test_the_command_describes_what_is_asked_for() -> None:
    done = ovenbird("drill", "describe", "noop", "gateway-drain")
    assert done.status == 0
    assert done.out.startswith("noop: break nothing")
    assert "safe live    yes" in done.out.split("\n\n")[1]
    wrong = ovenbird("drill", "describe", "gateway-crush")
    assert (wrong.status, "gateway-crash" in wrong.err) == (2, True)
