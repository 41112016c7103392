"""Find the accepted result that a new one corrects, where the two have different ids. Pure.

The id of a result depends on its order's place in the message, the day, the specimen and, without a patient, the time.
A correction that comes alone or on another day gets another id, and still means one result that was accepted before.
Where patient numbers are counters, the day is part of the Patient's id, too: two such Patients are the same one where
all data about the person are equal.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import chain

from engine.features.results.rows.accepted import AcceptedDocument, AcceptedHistory
from engine.model.errors import NotComparedError
from engine.model.texts.reasons import ReasonCode
from engine.succession.statements import Resource, id_of, under
from engine.succession.steps import CANCELLED, CHANGES, MINUTE, UNFINISHED

NEAR = timedelta(hours=36)
NEAR_WITHOUT_PATIENT = timedelta(hours=24)
MOST_RUNS = 100  # of one test, at one time or unfinished, that a result is compared with
SEVERAL = 2

Problem = tuple[ReasonCode, str]  # of a document, and in words for people
_Told = Mapping[str, tuple[str, str]]  # name of a result in a message -> its report, and its time of measurement


def find_meant(
    mine: Sequence[Resource], past: AcceptedHistory, compared: Collection[str] = ()
) -> tuple[dict[str, str], list[Problem]]:
    """Find the accepted result of each new one that has another id: id -> id; and the problems where it is unknown.

    Args:
        compared: names of results to skip.
    """
    reports = {result: one.name for one in mine if one.kind == "DiagnosticReport" for result in one.lists}
    told = {one.name: (reports.get(one.identity, ""), one.time) for one in mine}
    subjects = {one.subject for one in mine if one.kind == "Observation"}
    found: dict[str, str] = {}
    patients: dict[str, str] = {}
    problems: list[Problem] = []
    for one in mine:
        if one.kind != "Observation" or one.name in compared:
            continue
        if past.has(one.name):
            if (run := _other_run(one, told, past)) is not None:
                found[one.identity] = run
            continue
        candidates = _candidates(one, told, past, alone=len(subjects) == 1)
        if len(candidates) == 1:
            ((found[one.identity], subject),) = candidates.items()
            if subject != one.subject:
                patients[id_of(one.subject)] = id_of(subject)
        elif candidates:
            problems.append((ReasonCode.CORRECTS_UNKNOWN, f"several results may be meant ({one.called})"))
        elif one.said in CHANGES and one.subject and (nameless := _nameless(one, past)):
            if len(nameless) == 1 and len(subjects) == 1 and nameless[0][1]:
                found[one.identity] = nameless[0][0]
            else:
                text = f"several results without a patient may be meant, or one that is beside others ({one.called})"
                problems.append((ReasonCode.CORRECTS_UNKNOWN, text))
        elif one.said in CHANGES and (not one.subject or _is_anothers(one, past)):
            problems.append((ReasonCode.CORRECTS_UNKNOWN, f"no result is known that it corrects ({one.called})"))
    if len(set(found.values())) < len(found):
        return {}, [*problems, (ReasonCode.CORRECTS_UNKNOWN, "two corrections are about one result")]
    if (lacking := _give_free_ids(mine, found, past)) is not None:
        return {}, [
            *problems,
            (ReasonCode.CORRECTS_UNKNOWN, f"its runs are reported in other places ({lacking.called})"),
        ]
    if found:
        found |= _around(mine, found, past) | patients
    return found, problems


def _give_free_ids(mine: Sequence[Resource], found: dict[str, str], past: AcceptedHistory) -> Resource | None:
    """Give a free id to each result that loses its own to another result of its message because that one has the
    accepted one's time. Returns the first result without a free id, or None.
    """
    taken = set(found.values())
    moved = [one for one in mine if one.identity in taken and one.identity not in found and one.kind == "Observation"]
    free: dict[tuple[str, frozenset[str]], list[str]] = {}
    for one in mine if moved else ():
        if one.identity in found and one.identity not in taken and not past.has(one.name):
            free.setdefault((one.subject, one.codes), []).append(one.identity)
    for one in moved:
        if not (left := free.get((one.subject, one.codes))):
            return one
        found[one.identity] = left.pop(0)
    return None


def find_beside(
    mine: Sequence[Resource], past: AcceptedHistory, corrects: Mapping[str, str], compared: Collection[str]
) -> list[Problem]:
    """The problems of a document that has a correction, and beside it the result that may be meant.

    Args:
        corrects: id -> id, as `find_meant` gives it.
        compared: names of results that repeat accepted ones, or belong to a culture.
    """
    results = [one for one in mine if one.kind == "Observation"]
    changes = [one for one in results if one.said in CHANGES and one.name not in compared]
    if not changes:
        return []
    unknown = {one.name for one in results if not past.has(under(one.name, corrects))}
    stay = {(one.subject, code) for one in results if one.name in compared for code in one.codes}
    found = [one for one in changes if one.name in unknown and any((one.subject, code) in stay for code in one.codes)]
    changed = {(version.whole, version.said) for one in changes for version in past.versions(under(one.name, corrects))}
    found += [one for one in results if one.name in unknown and (one.whole, one.said) in changed]
    return [
        (
            ReasonCode.CORRECTS_UNKNOWN,
            f"a correction and the result that it may correct are reported together ({one.called})",
        )
        for one in found
    ]


def _is_anothers(new: Resource, past: AcceptedHistory) -> bool:
    """Whether the test has a result of another patient under the same order number: a counter identifies no person."""
    return any(one.subject != new.subject for _, one in past.of_test(new.codes))


def _other_run(new: Resource, told: _Told, past: AcceptedHistory) -> str | None:
    """The id of the same run of a test, where it had another place in the message before: of several runs in one
    message the first has the id that a single run gets, and another one was measured at this time. None: it has its
    place, or the run is unknown.

    Args:
        told: the results in its own message.
    """
    if len(new.time) < MINUTE or any(one.time == new.time for one in past.versions(new.name)):
        return None
    meant = {
        one.identity
        for accepted, one in _bounded(new, past.measured_at(new.codes, new.time))
        if accepted.same_day and one.subject == new.subject and not _is_told(one, new, told)
    }
    return meant.pop() if len(meant) == 1 else None


def _candidates(new: Resource, told: _Told, past: AcceptedHistory, *, alone: bool) -> dict[str, str]:
    """The accepted results that a new one with another id may mean, each with its subject; two where there are more.

    Args:
        told: the results in its own message: these are other results.
        alone: its message is about one patient only.
    """
    changes = new.said in CHANGES
    if not changes and not new.subject:
        return {}
    same: dict[str, str] = {}
    near: dict[str, str] = {}
    window = NEAR if new.subject else NEAR_WITHOUT_PATIENT
    for accepted, one in past.of_test(new.codes) if changes else _bounded(new, _comparable(new, past)):
        if _is_told(one, new, told) or not is_near(new.time, one.time, window):
            continue
        if one.subject != new.subject and not (alone and new.subject and accepted.is_of(one.subject)):
            continue
        if accepted.same_day and new.subject:
            if changes or new.said in UNFINISHED or _ends(new, one) or _says_the_same(new, one):
                same[one.identity] = one.subject
        elif len(near) < SEVERAL and (changes or _ends(new, one)):
            near[one.identity] = one.subject
        if len(same) == SEVERAL:
            break
    return same or near


def _is_told(old: Resource, new: Resource, told: _Told) -> bool:
    """Whether the message of ``new`` also has an accepted result under its own id. Not where that id belongs to another
    run in the same report, and ``new`` has the accepted one's time of measurement.
    """
    if old.name not in told:
        return False
    report, time = told[old.name]
    return len(new.time) < MINUTE or new.time != old.time or time == old.time or report != told[new.name][0]


def _nameless(new: Resource, past: AcceptedHistory) -> list[tuple[str, bool]]:
    """The accepted results without a patient that a correction with one may mean: each id, and whether it is the only
    result in its document, so that its report gets this patient with it.
    """
    found: dict[str, bool] = {}
    for accepted, one in past.of_test(new.codes):
        if not one.subject and is_near(new.time, one.time, NEAR_WITHOUT_PATIENT):
            found[one.identity] = accepted.subjects.total() == 1
    return list(found.items())


def _comparable(new: Resource, past: AcceptedHistory) -> Iterator[tuple[AcceptedDocument, Resource]]:
    """The accepted results of the same test that a new one without a correction status may mean."""
    if new.said in UNFINISHED or new.said == CANCELLED:
        return past.of_test(new.codes)
    return chain(past.measured_at(new.codes, new.time), past.unfinished(new.codes))


def _bounded(
    new: Resource, found: Iterable[tuple[AcceptedDocument, Resource]]
) -> Iterator[tuple[AcceptedDocument, Resource]]:
    """At most `MOST_RUNS`: a message may have thousands of one test, each of which would be compared with each.

    Raises:
        NotComparedError: there are more.
    """
    for count, one in enumerate(found):
        if count == MOST_RUNS:
            raise NotComparedError(f"there are more than {MOST_RUNS} results that may be meant ({new.called})")
        yield one


def _says_the_same(new: Resource, old: Resource) -> bool:
    """Whether two results of one order, patient and test are the same one, repeated."""
    return len(new.time) >= MINUTE and (new.time, new.said, new.meaning) == (old.time, old.said, old.meaning)


def _ends(new: Resource, old: Resource) -> bool:
    """Whether one result finishes or cancels an unfinished one."""
    return new.said == CANCELLED or (new.said == "final" and old.said in UNFINISHED)


def is_near(new: str, old: str, window: timedelta) -> bool:
    """Whether two times of measurement, as FHIR writes them, are no further apart than ``window``."""
    try:
        return abs(datetime.fromisoformat(new) - datetime.fromisoformat(old)) <= window
    except (ValueError, TypeError):
        return True  # a day, or nothing: the days of the orders are adjacent


def _around(mine: Sequence[Resource], found: Mapping[str, str], past: AcceptedHistory) -> dict[str, str]:
    """New ids of the report, specimen and order around results that got the id of an older one."""
    olds = set(found.values())
    more: dict[str, str] = {}
    for accepted in past.documents:
        if not any(one.identity in olds for one in accepted.resources):
            continue
        for kind in ("DiagnosticReport", "Specimen", "ServiceRequest"):
            new = [one for one in mine if one.kind == kind]
            old = [one for one in accepted.resources if one.kind == kind]
            if len(new) == len(old) == 1 and not past.has(new[0].name):
                more[new[0].identity] = old[0].identity
    return more
