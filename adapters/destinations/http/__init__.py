"""Shared by destinations over HTTP: one exchange, TLS, and the ways to log in."""
