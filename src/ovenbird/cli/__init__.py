"""The command line: one file per verb, thin over the HTTP API and the lab."""
