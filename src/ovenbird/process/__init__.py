"""Processes of this host: short commands with a deadline, and daemons that are started, adopted and kept.

Stands below `host`, `central` and `agent`, which say which daemons there are. Must never know a database, a bridge or
a role.
"""
