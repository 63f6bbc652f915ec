"""One chassis host: its Open vSwitch, ovn-controller, bridges, underlay and workload ports."""
