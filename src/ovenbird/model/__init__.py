"""What people declare, what the world looks like, ids, units and the error tree. Pure: no I/O, no clock."""
