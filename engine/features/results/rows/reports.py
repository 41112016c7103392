"""The statuses of reports, once it is decided what becomes of their results.

A result that changes a final one says so, and so does each report that lists it, also one of another message.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence

from engine.features.results.rows.sent import Sent
from engine.model.texts.reasons import ReasonCode
from engine.succession.statements import Resource
from engine.succession.steps import CANCELLED, CHANGES, RANK, WITHDRAWN


def statuses(
    mine: Sequence[Resource], out: Mapping[str, str], changed: Collection[str], rewritten: Collection[str]
) -> dict[str, str]:
    """The statuses of reports that replace the sender's.

    Args:
        out: id of a result -> the status with which it goes out. changed: names of those with another status.
        rewritten: names of reports that are changed themselves.
    """
    found: dict[str, str] = {}
    for one in mine:
        if one.kind == "DiagnosticReport" and (one.said == "final" or one.said in CHANGES):
            listed = {out.get(result, "") for result in one.lists}
            if listed == {WITHDRAWN}:
                found[one.name] = WITHDRAWN
            elif one.said == "final":
                listed = {"corrected" if status == WITHDRAWN else status for status in listed}
                status = next((status for status in ("corrected", "amended") if status in listed), "")
                if status or one.name in rewritten:
                    found[one.name] = status or "amended"
        if one.kind == "Composition" and {*out.values()} == {WITHDRAWN}:
            found[one.name] = WITHDRAWN
        elif one.kind == "Composition" and one.said == "final" and (changed or not CHANGES.isdisjoint(out.values())):
            found[one.name] = "amended"
    return {name: status for name, status in found.items() if status}


def rewritten(mine: Sequence[Resource], again: Collection[str], gone: Collection[str], sent: Sent) -> set[str]:
    """Names of final reports whose results all repeat, and whose comment or document has changed; and of those that
    had a result in their list that is gone."""
    lost = {name.partition("/")[2] for name in gone}
    has_results = any(one.kind == "Observation" for one in mine)
    found = set()
    for one in mine:
        if one.kind != "DiagnosticReport" or (has_results and not (again or lost)):
            continue
        if (last := sent.last(one.name)) is None:
            continue
        before = last[1]
        is_alone = all(f"Observation/{result}" in again for result in one.lists)
        has_changed = (one.texts and before.own != one.own) or (not has_results and one.whole != before.whole)
        is_final = RANK.get(before.status, 0) >= RANK["final"]
        if (has_changed and is_alone and is_final) or not lost.isdisjoint(before.lists):
            found.add(one.name)
    return found


def back(
    mine: Sequence[Resource], again: Collection[str], sent: Sent, *, joins: bool
) -> Iterator[tuple[ReasonCode, str]]:
    """The problems of reports whose results all repeat, and whose status is lower than before or cancelled.

    Where lists are joined a report of a lower status keeps its own, and only the report's own content could be set
    back.
    """
    for one in mine:
        if one.kind != "DiagnosticReport" or not all(f"Observation/{result}" in again for result in one.lists):
            continue
        if (last := sent.last(one.name)) is None:
            continue
        before = last[1]
        if one.said == CANCELLED and sent.has_results(one.name):
            yield ReasonCode.VALUE_GONE, "a cancelled report would take the place of one with results"
        elif (not joins or one.own != before.own) and RANK.get(one.said, 2) < RANK.get(before.said, 0):
            yield ReasonCode.STATUS_BACK, f"{one.said} after {before.said} (the report)"


def of_others(
    mine: Sequence[Resource], changed: Mapping[str, str], messages: Collection[int], sent: Sent
) -> dict[str, str]:
    """The reports of other messages that list a result which changes here, with the status that they get.

    Args:
        changed: id of a result -> its status. messages: that had a word about these.
    """
    written = {one.name for one in mine}
    found: dict[str, str] = {}
    for result in changed:
        for one in sent.listing(result, messages):
            if one.name in written or one.name in found or one.status not in RANK:
                continue
            listed = {changed[each] for each in one.lists if each in changed}
            if all(_is_withdrawn(each, changed, sent) for each in one.lists):
                found[one.name] = WITHDRAWN
            elif listed and RANK[one.status] >= RANK["final"]:
                found[one.name] = "amended" if listed == {"amended"} and one.status != "corrected" else "corrected"
    return found


def _is_withdrawn(result: str, changed: Mapping[str, str], sent: Sent) -> bool:
    if result in changed:
        return changed[result] == WITHDRAWN
    last = sent.last(f"Observation/{result}")
    return last is not None and last[1].status == WITHDRAWN
