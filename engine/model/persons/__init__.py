"""Whether two records under one patient number tell of one person. Pure; nothing here is remembered."""

from engine.model.persons.comparing import CONFLICT, FLAGGED, NOTHING, SAME, compare
from engine.model.persons.record import Person

__all__ = ["CONFLICT", "FLAGGED", "NOTHING", "SAME", "Person", "compare"]
