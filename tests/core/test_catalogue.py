"""The catalogue is sound: every drill names faults, parameters and targets that exist."""

import pytest

from ovenbird.drill import fault
from ovenbird.drill.catalogue import BY_NAME, DRILLS, chosen
from ovenbird.drill.script import Drill
from ovenbird.drill.targets import CARRIER_OF, IT, OF_TARGET, SEVERAL, SINGLE
from ovenbird.model.errors import UserError


@pytest.mark.parametrize("drill", DRILLS, ids=lambda drill: drill.name)
def test_a_drill_can_be_carried_out(drill: Drill) -> None:
    assert drill.what
    assert all("*" not in name[:-1] for name in drill.expect.streams), "only the end of a pattern is left open"
    for inject in drill.faults:
        assert inject.kind == "noop" or inject.kind in fault.FAULTS
        assert inject.target in (*SINGLE, *SEVERAL, IT) or inject.target.startswith(CARRIER_OF)
        if inject.kind != "noop":
            names = {name.removesuffix(OF_TARGET) for name in inject.params}
            assert names <= set(fault.parameters(inject.kind))
        for name, value in inject.params.items():
            assert not name.endswith(OF_TARGET) or value in (*SINGLE, *SEVERAL, IT)


def test_names_are_unique_and_can_be_chosen() -> None:
    assert len(BY_NAME) == len(DRILLS)
    usual = tuple(drill for drill in DRILLS if drill.needs.gateways <= 2)
    assert chosen(("noop", "all")) == (BY_NAME["noop"], *usual)
    assert {drill.name for drill in DRILLS} - {drill.name for drill in usual} == {
        "gateway-many-routers",
        "gateway-heal",
    }
    with pytest.raises(UserError) as caught:
        chosen(("gateway-crush",))
    assert "gateway-crash" in caught.value.hint
