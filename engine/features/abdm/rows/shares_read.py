"""Reading the tokens of patients who have shared their profile at a counter."""

from dataclasses import dataclass, field

from engine.features.abdm.rows import patients, shares
from engine.features.abdm.rules.abha import masked_name
from engine.store.queries.reader import Reader, Rows


def has_shares(reader: Reader) -> bool:
    """Whether a patient has shared his profile and no message was made of it."""
    with reader.snapshot() as execute:
        return shares.to_announce(Rows(execute, reader.vault))


@dataclass(frozen=True, slots=True)
class TokenView:
    """A token of the day. ``name``: of the patient, masked but for first letters; empty: he has left."""

    facility: str
    counter: str
    token: int
    made_us: int
    until_us: int
    name: str = field(repr=False)


def tokens(reader: Reader, day: str, most: int) -> list[TokenView]:
    """The newest tokens of a day (ISO, in the site's zone), for the desk."""
    with reader.snapshot() as execute:
        rows = Rows(execute, reader.vault)
        found = execute(
            "SELECT facility, counter, token, made_us, until_us, patient FROM abdm_share WHERE day = ?"
            " ORDER BY number DESC LIMIT ?",
            (day, most),
        ).fetchall()
        return [
            TokenView(facility, counter, token, made_us, until_us, _name(rows, patient))
            for facility, counter, token, made_us, until_us, patient in found
        ]


def _name(rows: Rows, patient: int) -> str:
    one = patients.by_number(rows, patient)
    return masked_name(one.person.name) if one is not None and one.person is not None else ""
