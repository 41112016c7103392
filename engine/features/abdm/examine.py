"""What ABDM has of a patient, for `labrelay erase`."""

from collections.abc import Iterator, Sequence

from engine.features.abdm.rows.reading import of_person
from engine.store.queries.reader import Reader
from engine.views.erased import Kept, numbered


def kept(reader: Reader, messages: Sequence[int], numbers: Sequence[str]) -> Kept:
    """What an erasure of these messages, by these numbers, meets: rows go, and messages of his other reports stay."""
    rows, same_abha = of_person(reader, messages, numbers)
    return Kept(
        goes="the patient at ABDM" if rows else "", lines=[*_lines(rows, same_abha)], document={"same_abha": same_abha}
    )


def _lines(rows: int, same_abha: Sequence[int]) -> Iterator[str]:
    if rows:
        yield "ABDM: the patient's addresses, link tokens, consents and codes go, too"
    if same_abha:
        yield (
            f"{len(same_abha)} more have the patient's ABHA and another patient number. They stay, and ABDM gives "
            "them out no more. Look at them, and add --patient NUMBER where they are the patient's: "
            f"{numbered(same_abha)}"
        )
