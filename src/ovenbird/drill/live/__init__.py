"""Safe drills on a live cluster: probes from workloads of this host, and faults that every cluster bears in daily work.

This package must never declare, change or attach anything, nor break what a drill of it did not name beforehand.
"""
