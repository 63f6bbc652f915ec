"""Every decision: compile, diff, schedule, membership, health rules. Pure: values in, values out."""
