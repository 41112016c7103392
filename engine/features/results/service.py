"""Messages on the page about patient numbers: an open question, too many conflicts, records that seem to be of one
person.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from engine.config.findings.questions import numbers_open
from engine.config.load import Site
from engine.model.message import Parsed, Stored
from engine.model.outcome import NOTHING_READ, ReadResults
from engine.model.routes import Program
from engine.monitoring.snapshot.site import About, Notice, notices
from engine.processing.process import read_again
from engine.runtime.service import Service, Today
from engine.store.queries.tallies import seeming_count

if TYPE_CHECKING:
    from engine.runtime.app import App

ASKED = "asked_person"  # messages of a day that were held for their patient number
TOO_MANY_IN = 100  # one in so many is the fault of the numbers themselves, and no slip
_AT_LEAST = 2


class ResultService(Service):
    """Of a running site."""

    def __init__(self, app: "App") -> None:
        self._journal = app.journal
        self.app = app

    def configured(self, site: Site) -> None:
        self._journal.upkeep.read_again = self._read_again

    def _read_again(self, stored: Stored) -> ReadResults:
        """The facts of a message; on the thread of the writer, so with caches of its own."""
        channel = self.app.parts.built.channels.get(stored.channel)
        if channel is None or (reader := channel.routes.reader) is None:
            return NOTHING_READ

        def aside(parsed: Parsed) -> Program | None:
            made = reader(parsed)
            return made.aside() if made is not None else None

        return read_again(stored, replace(channel.routes, reader=aside)) or NOTHING_READ

    def notes(self, site: Site, today: Today) -> Iterable[Notice]:
        return notices(About.PERSONS, in_words(site, today, seeming_count(self._journal)))


def in_words(site: Site, today: Today, seeming: int) -> Iterator[str]:
    """A line for each.

    Args:
        today: (channel, destination or nothing) -> name of a counter -> how many today.
        seeming: number of records that seem to be of the person who bore their number before.
    """
    if channels := [name for name in numbers_open(site) if today.get((name, ""), {}).get("received")]:
        yield (
            f"nothing says whether patient numbers last ({', '.join(channels)}): they are taken for counters, and no "
            "Patient has one; answer with patient_numbers: lasting or counter"
        )
    for name in site.channels:
        counts = today.get((name, ""), {})
        asked, received = counts.get(ASKED, 0), counts.get("received", 0)
        if asked >= _AT_LEAST and asked * TOO_MANY_IN > received:
            yield (
                f"{name}: {asked} of {received} messages today name another person under a known patient number: these "
                "numbers are counters, or names are cut; patient_numbers: counter for this channel keeps them apart"
            )
    if seeming:
        yield f"the same person as it seems, by another name or birth date: {seeming} (labrelay held persons)"
