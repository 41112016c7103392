"""Codes that no table has, suggestions for them, and corrections, as the API reads them."""

from collections.abc import Sequence

from engine.features.codes.lists import CORRECTION, GAP, SUGGESTION, counted, missing_now
from engine.features.codes.rows import list_corrections
from engine.mapping.code_tables.gaps import MissingCode
from engine.mapping.code_tables.suggestions import Suggestion
from engine.model.site.corrections import Correction, without_notes
from engine.store.queries.tallies import list_unmapped
from engine.web.api.lists import Asked, Resource
from engine.web.api.parameters import Channel


def gaps(asked: Asked[Channel]) -> Sequence[MissingCode]:
    found = list_unmapped(asked.journal, asked.arguments.channel)
    return list(map(counted, missing_now(found, asked.sources.routes())))


def suggestions(asked: Asked[Channel]) -> Sequence[Suggestion]:
    return asked.sources.suggestions(asked.arguments.channel)


def corrections(asked: Asked[Channel]) -> Sequence[Correction]:
    """All that were ever made, oldest first: which code changed when."""
    found = [one for one in list_corrections(asked.journal) if asked.arguments.channel in (None, one.channel)]
    return found if asked.principal.reads_notes else list(map(without_notes, found))


LISTS = (
    Resource("/gaps", "codes and units that no code table has, as they were counted", gaps, GAP, place=50),
    Resource(
        "/suggestions",
        "suggestions of published sources for codes of the site's analyzers; unconfirmed: no mapping uses them",
        suggestions,
        SUGGESTION,
    ),
    Resource(
        "/corrections",
        "corrections of code tables, oldest first; of one key the newest decides",
        corrections,
        CORRECTION,
    ),
)
