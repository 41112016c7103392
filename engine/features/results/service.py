"""Messages on the page about patient numbers: an open question, too many conflicts, records that seem to be of one
person.
"""

from collections.abc import Iterator, Mapping

from engine.config.load import Site
from engine.config.questions import numbers_open

ASKED = "asked_person"  # messages of a day that were held for their patient number
TOO_MANY_IN = 100  # one in so many is the fault of the numbers themselves, and no slip
_AT_LEAST = 2

Today = Mapping[tuple[str, str], Mapping[str, int]]


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
