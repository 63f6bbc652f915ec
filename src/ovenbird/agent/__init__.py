"""The process on every host: wires the parts of the host's roles together and keeps them going."""
