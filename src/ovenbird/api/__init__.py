"""The HTTP face: parse a request, call a use-case, render the answer."""
