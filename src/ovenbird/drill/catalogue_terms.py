"""What entries of the catalogue of drills share: daemons, what a usual lab has, and what is always said of lost peers.

Data only, as all of the catalogue (`ovenbird.drill.catalogue`).
"""

from __future__ import annotations

from ovenbird.drill.script import Needs

VSWITCHD, CONTROLLER = "ovs-vswitchd", "ovn-controller"
HA = Needs(centrals=3, gateways=2, computes=2)
FEW_PER_S = 2.0
"""Writes, and reads, of drills that measure gateways: enough to show that none is lost. Each takes some
25 ms of a lab's processors, on all its hosts together, from those that answer a lost gateway."""
PEER_LOST = ("no response to inactivity probe",)
"""What every daemon says of a peer that was cut off, stopped or switched off."""
