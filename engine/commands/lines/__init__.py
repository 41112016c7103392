"""Verbs for lines: look at one, or be the other end of it."""
