"""One host: its daemons, bridges, uplinks, workload ports and probes."""
