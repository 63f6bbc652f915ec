"""Targets of drills: the gateway of a certain leg, by what the status says of it."""

from __future__ import annotations

from random import Random

import pytest

from ovenbird.drill.targets import resolve
from ovenbird.model.errors import Refused

ROUTERS = [{"name": "wide_1", "active": "g1"}, {"name": "wide_2", "active": "g2"}, {"name": "lone", "active": None}]


def test_the_carrier_of_a_leg():
    assert resolve("carrier-of:wide_2", (), {"routers": ROUTERS}, active_gateway="g1", random=Random(1)) == ("g2",)


@pytest.mark.parametrize("status", [{}, {"routers": None}, {"routers": ROUTERS}])
def test_nothing_is_broken_when_nobody_is_known_to_carry_it(status: dict[str, object]):
    with pytest.raises(Refused):
        resolve("carrier-of:lone", (), status, active_gateway="g1", random=Random(1))
