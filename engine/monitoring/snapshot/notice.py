"""Sentences about the site as a whole, and which part of it each is about."""

from collections.abc import Iterable, Iterator
from enum import StrEnum

from engine.model.texts.phrases import Said, phrase_of


class About(StrEnum):
    """The part of the site that a notice is about; a key of the to-do list, so names stay as they are."""

    DELIVERIES = "deliveries"  # all of them are paused
    JOURNAL = "journal"
    BACKUP = "backup"
    ANCHOR = "second-anchor"
    KEY = "key"
    REFUSED = "refused-by-receivers"
    PAGE = "page"
    WORKER = "second-process"
    CLOCK = "clock"
    CERTIFICATE = "certificate"
    PERSONS = "persons"
    ERASURE = "erasure"
    CONFIGURATION = "configuration"
    DISK = "disk"


class Notice(Said):
    """A sentence; a string, so that JSON and the command line show it as such.

    Attributes:
        about: the part of the site.
    """

    about: About

    def __new__(cls, text: str, about: About) -> "Notice":
        made = str.__new__(cls, text)
        made.phrase = phrase_of(text)
        made.about = about
        return made


def notices(about: About, texts: Iterable[str]) -> Iterator[Notice]:
    """These sentences, about one part of the site; empty ones are left out."""
    return (Notice(text, about) for text in texts if text)
