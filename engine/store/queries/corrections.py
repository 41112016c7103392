"""The corrections of code tables, of the feature that keeps them."""

from collections.abc import Callable

from engine.feature import Hook
from engine.model.corrections import Correction
from engine.store.queries.reader import Reader

CORRECTIONS: Hook[Callable[[Reader, Callable[[int], None] | None], list[Correction]]] = Hook("corrections")


def list_corrections(reader: Reader, lost: Callable[[int], None] | None = None) -> list[Correction]:
    """All, in their order.

    Args:
        lost: called with the version of each that cannot be read; None: `IntegrityError` is raised.
    """
    return [one for of_feature in CORRECTIONS.each() for one in of_feature(reader, lost)]
