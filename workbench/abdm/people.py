"""Made-up people of the simulator: two siblings with one mobile, a person without a number, two of one name."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Person:
    """``number``: 14 digits, or None. ``birth``: year, month, day."""

    address: str
    number: str | None
    name: str
    gender: str
    birth: tuple[int, int, int]
    mobile: str

    @property
    def year(self) -> int:
        return self.birth[0]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def profile(self) -> dict[str, Any]:
        """As scan and share gives it."""
        year, month, day = self.birth
        return {
            "abhaNumber": self.number,
            "abhaAddress": self.address,
            "name": self.name,
            "gender": self.gender,
            "dayOfBirth": str(day),
            "monthOfBirth": str(month),
            "yearOfBirth": str(year),
            "address": {"line": "1 Example Road", "district": "Pune", "state": "Maharashtra", "pincode": "411001"},
            "phoneNumber": self.mobile,
        }


PEOPLE = (
    Person("meera.iyer@sbx", "91100000000016", "Meera Iyer", "F", (1986, 3, 14), "9000000001"),
    Person("arjun.rao@sbx", "91100000000024", "Arjun Rao", "M", (2012, 7, 2), "9000000002"),
    Person("anaya.rao@sbx", "91100000000032", "Anaya Rao", "F", (2013, 9, 21), "9000000002"),
    Person("kabir.only@sbx", None, "Kabir Das", "M", (1990, 1, 30), "9000000003"),
    Person("meera.k.iyer@sbx", "91100000000040", "Meera Iyer", "F", (1961, 11, 5), "9000000004"),
)
