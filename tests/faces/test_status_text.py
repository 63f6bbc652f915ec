"""What `ovenbird status` prints for people, from one snapshot in order and one in trouble."""

from __future__ import annotations

import time
from dataclasses import replace

import click
from tests.core.test_health import DEAD_G1, healthy, router, told

from ovenbird.api.render import rendered
from ovenbird.cli.status import as_text
from ovenbird.plan.health import judge
from ovenbird.plan.observation import Member, MemberState, NorthdState
from ovenbird.plan.pulse import Pulse, evidence

IN_ORDER = """\
HEALTHY  cluster lab, as seen from c1 at 13:46:40

DATABASE  LEADER  TERM  QUORUM  MEMBERS
nb        c1      3     yes     c1 leader, c2 follower, c3 follower
sb        c1      3     yes     c1 leader, c2 follower, c3 follower
ovenbird  c1      3     yes     c1 leader, c2 follower, c3 follower

northd:      c1 active, c2 standby, c3 standby
controller:  c2, epoch 7, last confirmed write 1 s ago; revision declared 4, in NB 4

CHASSIS  REGISTERED  NB_CFG   AGENT HEARD  BFD
g1       yes         current  2 s ago      2 up
g2       yes         current  2 s ago      2 up
n1       yes         current  2 s ago      2 up
n2       yes         current  2 s ago      -

ROUTER  MODE            ACTIVE GATEWAY  STANDBYS
r1      active-standby  g1              g2 (99)"""

IN_TROUBLE = """\
DEGRADED  cluster lab, as seen from c1 at 13:46:40
   ! nb: c3 could not be asked (no answer within 1 s)
   ! ovn-northd on c3 could not be asked (its agent has been silent for 40 s)
   ! who acts as controller is not known (the Ovenbird database cannot be reached)
   ! BFD between g1 and g2 is down
   ! BFD between g1 and n1 is down
   ! r1 is carried by g2, most wanted is g1
   ! r1 has no standby left: g1 dead (the next failure takes it down)

DATABASE  LEADER  TERM  QUORUM  MEMBERS
nb        c1      3     yes     c1 leader, c2 follower, c3 unknown
sb        c1      3     yes     c1 leader, c2 follower, c3 follower
ovenbird  c1      3     yes     c1 leader, c2 follower, c3 follower

northd:      c1 active, c2 standby, c3 unknown (its agent has been silent for 40 s)
controller:  unknown, epoch unknown, last confirmed write unknown; revision declared unknown, in NB unknown

CHASSIS  REGISTERED  NB_CFG   AGENT HEARD  BFD
g1       yes         current  2 s ago      0 up, DOWN to g2, n1
g2       yes         current  2 s ago      1 up, DOWN to g1
n1       yes         current  2 s ago      1 up, DOWN to g1
n2       yes         current  2 s ago      -

ROUTER  MODE            ACTIVE GATEWAY  STANDBYS
r1      active-standby  g2              g1 (100) DEAD"""


def text_of(snapshot, monkeypatch) -> str:
    monkeypatch.setattr(time, "localtime", time.gmtime)
    return click.unstyle(as_text(rendered(snapshot, judge(snapshot))))


def test_in_order(monkeypatch):
    assert text_of(healthy(), monkeypatch) == IN_ORDER


def test_in_trouble_the_reasons_come_first(monkeypatch):
    seen = told(**DEAD_G1)
    unknown = Member(host="c3", remote="tcp:10.0.0.3:6641", state=MemberState.UNKNOWN, why="no answer within 1 s")
    first, *others = seen.databases
    trouble = replace(
        seen,
        databases=(replace(first, members=(*first.members[:2], unknown)), *others),
        northds=(
            *seen.northds[:2],
            replace(seen.northds[2], state=NorthdState.UNKNOWN, why="its agent has been silent for 40 s"),
        ),
        controller=type(seen.controller)(why="the Ovenbird database cannot be reached"),
        routers=(router(active="g2"),),
    )
    assert text_of(trouble, monkeypatch) == IN_TROUBLE


def test_a_controller_that_robbed_another_says_so_within_a_line(monkeypatch):
    pulse = Pulse(epoch=12345, holder="central-1", beat=12_345_678, since_s=100.0)
    seen = replace(healthy(), controller=replace(healthy().controller, taken=evidence(pulse, 103.04)))
    lines = text_of(seen, monkeypatch).splitlines()
    (line,) = [line for line in lines if "took the place" in line]
    assert line.strip().startswith("took the place from central-1: beat 12345678 of epoch 12345 stood still for 3.0")
    assert len(line) <= 120


def test_unknown_routers_are_shown_as_unknown(monkeypatch):
    text = text_of(replace(healthy(), routers=None, routers_why="SB: no answer"), monkeypatch)
    assert text.endswith("routers: unknown")
    assert "who carries the routers is not known (SB: no answer)" in text


def test_every_line_fits_a_terminal_of_120_columns(monkeypatch):
    assert all(len(line) <= 120 for line in text_of(healthy(), monkeypatch).splitlines())
