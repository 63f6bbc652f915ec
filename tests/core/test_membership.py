"""Of which groups a chassis is a member, by the rows of SB."""

from ovenbird.host.membership import memberships

TABLES = {
    "Chassis": {"c1": {"name": "g1"}, "c2": {"name": "g2"}},
    "HA_Chassis": {"h1": {"chassis": "c1"}, "h2": {"chassis": "c2"}, "vacant": {"chassis": None}},
    "HA_Chassis_Group": {
        "a": {"name": "both", "ha_chassis": ("h1", "h2")},
        "b": {"name": "one", "ha_chassis": ("h1", "vacant")},
        "c": {"name": "none", "ha_chassis": ()},
    },
}


def test_a_chassis_belongs_to_the_groups_that_have_it_as_a_member() -> None:
    assert memberships("g1", TABLES) == {"both", "one"}
    assert memberships("g2", TABLES) == {"both"}


def test_one_that_is_not_registered_belongs_to_none() -> None:
    assert memberships("g3", TABLES) == frozenset()
