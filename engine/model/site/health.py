"""One finding of an examination: a subject, its health, and advice."""

from dataclasses import dataclass
from enum import StrEnum


class Health(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Line:
    """One examined thing.

    Attributes:
        advice: what to do about it; empty where it is ok.
    """

    health: Health
    subject: str
    text: str
    advice: str = ""
