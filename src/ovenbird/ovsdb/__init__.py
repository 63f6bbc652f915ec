"""An asyncio OVSDB client (RFC 7047 and the `_since` extensions) that knows nothing of Ovenbird."""
