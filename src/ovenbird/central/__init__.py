"""The database tier of one central host: its member of each RAFT database, and its ovn-northd."""
