"""A result as critical values know it: which one it is, and what it says, in hashes under the site's key."""

from typing import NamedTuple


class Spoken(NamedTuple):
    """What a message says of one result.

    Attributes:
        key: of its order, its test and its unit; empty: it names no order, so it is compared with no other.
        person: of the patient's number, or name; empty: none is named. lasting: that is one person's for good.
        said: of its value, its flags and its time. at: of its time alone; empty: it has none, or a day alone.
        drawn: of the time when its sample was taken; empty: not known.
        state: of FHIR.
        critical: it has the flag of a critical value, and is not withdrawn.
    """

    key: str = ""
    person: str = ""
    lasting: bool = False
    said: str = ""
    at: str = ""
    drawn: str = ""
    state: str = ""
    critical: bool = True
