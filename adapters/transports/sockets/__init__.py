"""Sockets: who may connect, certificates, and one connection as a stream."""
