"""Clients of servers, for destinations that send and sources that ask: HTTP with its ways to log in, and TLS."""
