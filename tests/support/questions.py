"""The questions about the patient numbers of a message, as who answers names them."""

from engine.features.results.rows import number_bearers
from engine.store.queries.reader import Reader, Rows


def marks(reader: Reader, message: int) -> list[str]:
    """Of the persons who are to be compared, in the order of the page; "none" for each that is not there."""
    with reader.snapshot() as execute:
        found = number_bearers.questions(Rows(execute, reader.vault), message)
    return [one.mark for one in found] or ["none"]
