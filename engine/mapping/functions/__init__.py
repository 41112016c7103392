"""The functions of the mapping language, a module per idea. Importing this package fills the registry."""

from engine.mapping.functions import (
    abdm,
    astm,
    astm_values,
    attachments,
    channel,
    coding,
    dates,
    identifiers,
    lists,
    loinc,
    numbers,
    people,
    relations,
    special,
    specimens,
    texts,
)
from engine.mapping.functions.registry import FUNCTIONS, Function, Parameter

__all__ = [
    "FUNCTIONS",
    "Function",
    "Parameter",
    "abdm",
    "astm",
    "astm_values",
    "attachments",
    "channel",
    "coding",
    "dates",
    "identifiers",
    "lists",
    "loinc",
    "numbers",
    "people",
    "relations",
    "special",
    "specimens",
    "texts",
]
