"""Invented patients and the numbers of their specimens. Every patient's number begins with SIM."""

import random
from dataclasses import dataclass, field

FAMILY = ("Rao", "Iyer", "Sharma", "Khan", "Das", "Nair", "Singh", "Bose", "Joshi", "Menon", "Patil", "Reddy")
GIVEN = ("Meera", "Arjun", "Kavya", "Imran", "Leela", "Vikram", "Sunita", "Ravi", "Fatima", "Mohan", "Divya", "Kiran")
FAMILY_HINDI = ("शर्मा", "वर्मा", "गुप्ता", "सिंह", "यादव", "मिश्रा", "जोशी", "पाटील")
GIVEN_HINDI = ("अनिता", "राजेश", "सुनीता", "विकास", "प्रिया", "मोहन", "कविता")
PATIENTS = 5_000  # so many come again and again


@dataclass(frozen=True, slots=True)
class Person:
    """An invented patient; ``number`` is the medical record number, ``born`` YYYYMMDD, ``sex`` M or F."""

    number: str
    family: str
    given: str
    family_hindi: str
    given_hindi: str
    born: str
    sex: str

    @classmethod
    def invent(cls, index: int) -> "Person":
        """The same person for the same ``index``."""
        rng = random.Random(index)
        return cls(
            number=f"SIM-{index:05d}",
            family=rng.choice(FAMILY),
            given=rng.choice(GIVEN),
            family_hindi=rng.choice(FAMILY_HINDI),
            given_hindi=rng.choice(GIVEN_HINDI),
            born=f"{rng.randrange(1935, 2020)}{rng.randrange(1, 13):02d}{rng.randrange(1, 29):02d}",
            sex=rng.choice("MF"),
        )


@dataclass(slots=True)
class Reception:
    """Where specimens are registered: each gets a number that no other has, and belongs to a patient.

    Attributes:
        run: digits that no other run has, so that a second run is new work and not a repeat of the first.
    """

    run: str
    rng: random.Random
    _numbers: int = field(default=0)

    def patient(self) -> Person:
        return Person.invent(self.rng.randrange(PATIENTS))

    def number(self) -> str:
        """The next specimen's number: digits, as barcodes have them."""
        self._numbers += 1
        return f"{self.run}{self._numbers:05d}"
