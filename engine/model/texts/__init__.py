"""Texts for people, and texts with values in them."""
