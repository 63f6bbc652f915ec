"""Ovenbird keeps an OVN network up: databases, controllers and gateways, highly available."""

__version__ = "0.1.0"
