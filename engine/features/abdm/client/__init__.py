"""Clients of ABDM's servers: its gateway."""
