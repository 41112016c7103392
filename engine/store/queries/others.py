"""Persons who share a patient number: whom a person has separated from the first bearer of their number."""

from collections.abc import Callable

from engine.feature import Hook
from engine.store.core.rows import Execute

OTHERS: Hook[Callable[[Execute], dict[bytes, int]]] = Hook("others")


def others_of(execute: Execute) -> dict[bytes, int]:
    """Number and record, concatenated -> person of the number, for all persons but the first."""
    return {key: person for one in OTHERS.each() for key, person in one(execute).items()}
