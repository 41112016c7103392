"""Reading what the laboratory has to do with ABDM."""

from engine.store.operations.abdm import callbacks, calls
from engine.store.queries.reader import Reader, Rows


def callbacks_waiting(reader: Reader, most: int) -> list[int]:
    """The oldest callbacks of which no state was made yet."""
    with reader.snapshot() as execute:
        return callbacks.waiting(Rows(execute, reader.vault), most)


def next_call_us(reader: Reader) -> int | None:
    """When the next call is due; None: there is none."""
    with reader.snapshot() as execute:
        return calls.next_due_us(Rows(execute, reader.vault))
