"""Bytes to values and back. Pure: no clock, socket, file, logger or random number."""
