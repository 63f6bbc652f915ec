"""The process that runs on each host and wires the parts together by the host's roles."""
