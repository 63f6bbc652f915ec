"""A lab: a whole cluster on one machine, a network namespace per host, running the production agent."""
