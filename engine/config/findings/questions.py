"""Open questions about a laboratory: no message answers them, and the configuration does not yet."""

from collections.abc import Iterator

from engine.config.load import Site
from engine.config.site import CONFIG_FILE

WITHOUT_PATIENTS = "json"  # no ids are made of it, so none of a patient
NAMED = 10  # channels
PATIENT_NUMBERS = (
    "does a patient number stay with one person for good? Say `patient_numbers: lasting`, or `counter` where numbers "
    "begin anew or are given again (docs/identity.md); until then all are counters, and no Patient has one"
)


def open_questions(site: Site) -> Iterator[str]:
    """A line for each question that is open."""
    if channels := numbers_open(site):
        more = [f"{len(channels) - NAMED} more"] if len(channels) > NAMED else []
        yield f"{CONFIG_FILE}: {PATIENT_NUMBERS} (channels: {', '.join([*channels[:NAMED], *more])})"


def numbers_open(site: Site) -> list[str]:
    """The channels that make documents, and have no setting for the range of their patient numbers."""
    if site.config.patient_numbers is not None:
        return []
    return [
        name
        for name, channel in site.channels.items()
        if channel.patient_numbers is None
        and channel.source.reads_as != WITHOUT_PATIENTS
        and any(route.mapping is not None for route in channel.routes)
    ]
