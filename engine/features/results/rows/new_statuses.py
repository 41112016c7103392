"""The statuses with which results and reports go out, where they are not the sender's.

A result that changes a final one says so, and so does each report that lists it, also one of another message.
"""

from collections.abc import Iterable, Mapping, Sequence

from engine.features.results.rows.accepted import AcceptedHistory
from engine.model.journal.document_facts import DocumentFacts
from engine.succession.statements import Resource, under
from engine.succession.steps import CHANGES, RANK, WITHDRAWN, Step


def find(
    mine: Sequence[Resource],
    steps: Mapping[str, Step],
    corrects: Mapping[str, str],
    own: AcceptedHistory,
    rewritten: set[str],
) -> dict[str, str]:
    """The statuses that replace the sender's: of results that change a final one, and of their reports.

    Args:
        rewritten: names of reports that dropped a result from their list, or whose own content changed.
    """
    changed = {name: step.status for name, step in steps.items() if step.kind in ("amended", "held") and step.status}
    changed |= _repaired(mine, corrects, own)
    out = {one.identity: changed.get(one.name, one.status) for one in mine if one.kind == "Observation"}
    for one in mine:
        if one.kind == "DiagnosticReport" and (one.said == "final" or one.said in CHANGES):
            listed = {out.get(result) for result in one.lists}
            if listed == {WITHDRAWN}:
                changed[one.name] = WITHDRAWN
            if one.said != "final" or listed == {WITHDRAWN}:
                continue
            listed = {"corrected" if status == WITHDRAWN else status for status in listed}
            status = next((status for status in ("corrected", "amended") if status in listed), "")
            if status or one.name in rewritten:
                changed[one.name] = status or "amended"
        if one.kind == "Composition" and one.said == "final" and changed:
            changed[one.name] = "amended"
    return changed


def _repaired(mine: Sequence[Resource], corrects: Mapping[str, str], own: AcceptedHistory) -> dict[str, str]:
    """The statuses of results that the message has delivered before with another meaning: its mapping was wrong."""
    before = {one.name: one for document in own.documents for one in document.resources}
    changed: dict[str, str] = {}
    for one in mine:
        old = before.get(under(one.name, corrects))
        if one.kind != "Observation" or old is None or one.said != "final" or RANK.get(old.status, 2) < RANK["final"]:
            continue
        if old.status in CHANGES:
            changed[one.name] = old.status
        elif one.meaning != old.meaning or not old.codes <= one.codes:
            changed[one.name] = "corrected"
    return changed


def rewritten(mine: Sequence[Resource], echoes: frozenset[str], past: AcceptedHistory) -> set[str]:
    """Names of final reports whose results are all echoes, and whose comment or document has changed."""
    return {
        one.name
        for one in mine
        if one.texts
        and one.lists
        and echoes.issuperset(f"Observation/{result}" for result in one.lists)
        and (before := past.last_of(one.name)) is not None
        and RANK.get(before.status, 0) >= RANK["final"]
        and before.own != one.own
    }


def find_of_others(
    mine: Sequence[Resource],
    facts: DocumentFacts,
    past: AcceptedHistory,
    withdrawn: Iterable[str],
    closed: Iterable[str],
) -> tuple[str, ...]:
    """The reports of other messages that list a result which changes here, with their present status.

    Args:
        withdrawn: names of results, closed: of reports, that are no longer valid.
    """
    changed = {name.partition("/")[2]: WITHDRAWN for name in withdrawn}
    for one in mine:
        if one.kind == "Observation" and one.name not in facts.echoes:
            status = facts.statuses.get(one.name, one.status)
            if status in CHANGES:
                changed[facts.corrects.get(one.identity, one.identity)] = status
    written = {under(one.name, facts.corrects) for one in mine}
    found: dict[str, str] = dict.fromkeys(closed, WITHDRAWN)
    for document in past.documents:
        for one in document.resources:
            if one.kind != "DiagnosticReport" or document.waits or one.name in written or one.status not in RANK:
                continue
            listed = {changed[result] for result in one.lists if result in changed}
            if not listed or one.name in closed:
                continue
            if all(_is_withdrawn(result, changed, past) for result in one.lists):
                found[one.name] = WITHDRAWN
            elif RANK[one.status] >= RANK["final"]:
                found[one.name] = "amended" if listed == {"amended"} and one.status != "corrected" else "corrected"
    return past.written_anew(found)


def _is_withdrawn(result: str, changed: Mapping[str, str], past: AcceptedHistory) -> bool:
    """Whether a result is withdrawn once the changes are written: its id, and id -> status of the changes."""
    if result in changed:
        return changed[result] == WITHDRAWN
    last = past.last_of(f"Observation/{result}")
    return last is not None and last.status == WITHDRAWN
