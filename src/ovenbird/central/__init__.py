"""The database tier of one central host: members of the three databases, and ovn-northd."""
