"""Decide whether two records under one patient number belong to one person. Pure; nothing is stored here."""

from engine.model.persons.comparing import CONFLICT, FLAGGED, NOTHING, SAME, compare
from engine.model.persons.record import Person

__all__ = ["CONFLICT", "FLAGGED", "NOTHING", "SAME", "Person", "compare"]
