"""The controller: elected by lock, fenced by an epoch in data, turns declared objects into NB rows."""
