"""What entries of the catalogue of drills share: daemons, what a usual lab has, and what is always said of lost peers.

Data only, as all of the catalogue (`ovenbird.drill.catalogue`).
"""

from __future__ import annotations

from ovenbird.drill.script import Needs

VSWITCHD, CONTROLLER = "ovs-vswitchd", "ovn-controller"
HA = Needs(centrals=3, gateways=2, computes=2)
PEER_LOST = ("no response to inactivity probe",)
"""What every daemon says of a peer that was cut off, stopped or switched off."""
