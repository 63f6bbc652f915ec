"""Drills: break real daemons under checked load and publish the outage that a workload saw."""
