"""Reports of cultures: each lists all its isolates and susceptibilities, and replaces the one before it. Pure.

An isolate is a result that the mapping marks (setting ``head_codes``), to which susceptibilities belong (OBR-26 and
OBR-29), or whose LOINC term is *identified by culture*; and each other result of its code.
"""

from collections.abc import Iterable, Sequence

from engine.succession.judge.cultures import IDENTIFIED
from engine.succession.statements import Resource
from engine.succession.steps import WITHDRAWN


def head_codes(resources: Iterable[Resource]) -> frozenset[str]:
    """The codes that a message uses for isolates, where it shows that they are isolates."""
    resources = list(resources)
    susceptible = {one.identity for one in resources if one.susceptible}
    return frozenset(
        code
        for one in resources
        if one.isolate or not one.codes.isdisjoint(IDENTIFIED) or not susceptible.isdisjoint(one.members)
        for code in one.codes
    )


def reports_of_cultures(resources: Sequence[Resource], codes: frozenset[str]) -> set[str]:
    """The ids of reports in a document that list isolates, or susceptibilities of these.

    Args:
        codes: of isolates: `head_codes` of this document, and of others of its orders.
    """
    heads = {one.identity: one for one in resources if one.kind == "Observation" and not one.codes.isdisjoint(codes)}
    reports = [one for one in resources if one.kind == "DiagnosticReport" and not one.status == WITHDRAWN != one.said]
    listed = {result for one in reports if one.subject for result in one.lists if result in heads}
    parts = listed.union(*(heads[one].members for one in listed))
    return {one.identity for one in reports if not parts.isdisjoint(one.lists)}
