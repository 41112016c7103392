"""Reports that are sent as a whole: a result that is missing in a new one is withdrawn with it, or holds it.

    a culture                an isolate or susceptibility that is gone is withdrawn by the same document
    any other result of it   holds the document until a person decides (`RESULTS_GONE`); a release withdraws it
    `report_list: replace`   as any other result of a culture
    a text of several lines  as any other result of a culture: each line is a result of the same test
    one of several results   holds the document where it may be about another one (`ReasonCode.CORRECTS_UNKNOWN`)

The ids of isolates follow the isolate, not its number in the message (`engine.succession.cultures`).
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from engine.features.results.rows.accepted import AcceptedDocument, AcceptedHistory
from engine.features.results.rows.corrections import NEAR, SEVERAL, Problem, is_near
from engine.model.texts.reasons import ReasonCode
from engine.succession.cultures import Culture, Order, cultures_in, head_codes, is_timed, replace, standing
from engine.succession.statements import Resource, under
from engine.succession.steps import CANCELLED, CHANGES, UNFINISHED, WITHDRAWN


@dataclass(slots=True)
class CultureReports:
    """The results of comparing the cultures of a message.

    Attributes:
        ids: id from the mapping -> new id of the resource.
        results: names of isolates and susceptibilities, under their new ids.
        reports: names of the reports of the cultures.
        echoes: names of all resources of a culture that was accepted before, unchanged.
        gone: names of results to withdraw. closed: of reports.
    """

    ids: dict[str, str] = field(default_factory=dict)
    results: set[str] = field(default_factory=set)
    reports: set[str] = field(default_factory=set)
    echoes: set[str] = field(default_factory=set)
    gone: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)


def find_cultures(mine: Sequence[Resource], past: AcceptedHistory) -> CultureReports:
    """Match the cultures of a message with the accepted ones that they replace.

    Raises:
        NotComparedError: a document that may contain one of them cannot be read.
    """
    found = CultureReports()
    codes = head_codes(mine)
    for accepted in past.documents:
        codes |= head_codes(accepted.resources)
    earlier = _Earlier(past, codes)
    for order, new in cultures_in(mine, codes).items():
        results, reports = {one.name for one in new.results()}, {one.name for one in new.reports}
        if is_timed(new) and earlier.tells(order, new):
            found.echoes |= results | reports
            continue
        old = earlier.standing(order, new)
        past.take([one.name for one in (*old.results(), *old.reports)])  # single results of these that came alone
        old = earlier.standing(order, new)
        if old.reports:
            past.count_looks(len(new.isolates) * len(old.isolates) + len(new.reports) * len(old.reports))
            replaced = replace(new, old, lambda identity: _is_taken(f"Observation/{identity}", past))
            found.ids |= replaced.ids
            found.gone += replaced.gone
            found.closed += replaced.closed
        found.results |= {under(one, found.ids) for one in results}
        found.reports |= {under(one, found.ids) for one in reports}
    return found


class _Earlier:
    """The cultures in accepted documents; each document is read once.

    Args:
        codes: of the tests that report isolates.
    """

    def __init__(self, past: AcceptedHistory, codes: frozenset[str]) -> None:
        self._past, self._codes = past, codes
        self._cultures: dict[int, dict[Order, Culture]] = {}

    def _culture(self, accepted: AcceptedDocument, order: Order) -> Culture | None:
        found = self._cultures.get(accepted.document_id)
        if found is None:
            found = self._cultures[accepted.document_id] = cultures_in(accepted.resources, self._codes)
        return found.get(order)

    def tells(self, order: Order, new: Culture) -> bool:
        """Whether a document has the same culture with the same content: an analyzer sends its memory."""
        said = new.told()
        cultures = (self._culture(one, order) for one in self._past.documents if not one.refused)
        return any(old is not None and old.told() == said for old in cultures)

    def standing(self, order: Order, new: Culture) -> Culture:
        messages = [one for one in self._past.documents if not one.waits and self._is_before(one, order, new)]
        self._past.count_looks(sum(len(one.resources) for one in messages))
        return standing((self._culture(one, order) or Culture(), one.resources) for one in messages)

    def _is_before(self, accepted: AcceptedDocument, order: Order, new: Culture) -> bool:
        """Whether a document is about the same culture. On another day, only an unfinished or corrected one is."""
        if accepted.same_day:
            return True
        old = self._culture(accepted, order)
        if old is None:
            return True  # perhaps one susceptibility of it
        ends = any(one.said in UNFINISHED for one in old.reports) or any(one.said in CHANGES for one in new.reports)
        return ends and is_near(new.reports[0].time, old.reports[0].time, NEAR)


def _is_taken(name: str, past: AcceptedHistory) -> bool:
    """Whether an id belongs to another isolate. A withdrawn isolate keeps its id: a person decides."""
    last = past.last_of(name)
    return last is not None and last.said != WITHDRAWN


def missing(
    mine: Sequence[Resource],
    past: AcceptedHistory,
    whole: Collection[str],
    withdrawn: Collection[str],
    closed: Collection[str],
) -> list[Resource]:
    """The valid results that no report would list any more.

    Args:
        whole: names of the reports of ``mine`` that are sent as a whole.
        withdrawn: names of results, closed: of reports, that the same document withdraws.
    """
    written = {one.name for one in mine}
    listed = {result for one in mine if one.kind == "DiagnosticReport" for result in one.lists}
    found: dict[str, Resource] = {}
    for report in whole:
        before = past.last_of(report)
        for identity in before.lists if before is not None else ():
            name = f"Observation/{identity}"
            if identity in listed or name in withdrawn or name in written:
                continue
            result = past.last_of(name)
            if result is None or result.status in (WITHDRAWN, CANCELLED):
                continue
            others = (one for one in past.listing(name) if one.name not in written and one.name not in closed)
            if all(one.status == WITHDRAWN for one in others):
                found[name] = result
    return list(found.values())


@dataclass(frozen=True, slots=True)
class Lines:
    """Results of one test in one report, at least one of them changed; and earlier ones of the same report that are
    still valid.

    Attributes:
        told: those in the new document.
        last: the last version of the first of these, where it was also the first then: a single result has its id. Else
            None: its place in the report (OBX-4) identifies it.
        others: those that are missing in the new document.
        in_words: one of them is no number: a text, or several answers.
    """

    told: Sequence[Resource]
    last: Resource | None
    others: Sequence[Resource]
    in_words: bool


def find_lines(
    mine: Sequence[Resource], echoes: set[str], past: AcceptedHistory, cultures: Collection[str]
) -> list[Lines]:
    """The tests that had several results in their report, and that lack some of them in this document.

    Args:
        mine: under the ids of the results that they correct.
        echoes: names of results that repeat accepted ones; a test with only these does not change.
        cultures: names of reports that are compared as cultures.
    """
    written = {one.name: one for one in mine}
    sent = [one.resources for one in past.documents if not one.waits]
    standing = {one.name: one for resources in sent for one in resources if one.kind == "Observation"}
    together: dict[tuple[str, frozenset[str]], list[list[Resource]]] = {}  # of a report, or of each of the results
    for report in (one for resources in sent for one in resources if one.kind == "DiagnosticReport"):
        for codes, lines in _by_test(report, standing).items():
            for one in (report, *lines) if len(lines) >= SEVERAL else ():
                together.setdefault((one.name, codes), []).append(lines)
    found = []
    for report in mine if together else ():
        if report.kind != "DiagnosticReport" or report.name in cultures:
            continue
        for codes, lines in _by_test(report, written).items():
            texts = {id(text): text for one in (report, *lines) for text in together.get((one.name, codes), ())}
            before = {one.name: one for text in texts.values() for one in text}
            gone = (one for name, one in before.items() if name not in written)
            others = [one for one in gone if one.status not in (WITHDRAWN, CANCELLED)]
            if others and not echoes.issuperset(one.name for one in lines):
                is_first = any(text[0].name == lines[0].name for text in texts.values())
                last = standing[lines[0].name] if is_first else None
                found.append(Lines(lines, last, others, any(one.answer for one in (*lines, *before.values()))))
    return found


def _by_test(report: Resource, results: Mapping[str, Resource]) -> dict[frozenset[str], list[Resource]]:
    """The results that a report lists, by their codes."""
    found: dict[frozenset[str], list[Resource]] = {}
    for identity in report.lists:
        if (one := results.get(f"Observation/{identity}")) is not None and one.codes:
            found.setdefault(one.codes, []).append(one)
    return found


def lines_gone(found: Iterable[Lines]) -> list[Resource]:
    """The lines of a text that are missing in a new text; they would stay behind it."""
    gone = (text.others for text in found if text.in_words and len(text.told) >= SEVERAL)
    return list({one.name: one for others in gone for one in others}.values())


def lines_alone(found: Iterable[Lines], corrects: Collection[str]) -> list[Problem]:
    """The problems of a document that changes one of several results and lacks the others: it may be the whole text, or
    a correction of another line.

    Args:
        corrects: ids of the accepted results that these certainly correct.
    """
    alone = (one for one in found if len(one.told) < SEVERAL and one.told[0].identity not in corrects)
    return [
        (ReasonCode.CORRECTS_UNKNOWN, f"one of several results is reported alone ({one.told[0].called})")
        for one in alone
        if one.last is not None and _may_be_another(one.told[0], one.last, one)
    ]


def _may_be_another(new: Resource, last: Resource, lines: Lines) -> bool:
    """Whether a single result may mean another one than ``last``, whose id it has."""
    if new.whole == last.whole:
        return False
    same_time = any(one.time == last.time for one in lines.others)
    return same_time or new.time != last.time if new.said in CHANGES else same_time and lines.in_words


def shortened(mine: Sequence[Resource], past: AcceptedHistory, whole: Collection[str]) -> set[str]:
    """Names of the reports that dropped a result from their list: a final one is thereby changed."""
    return {
        one.name
        for one in mine
        if one.name in whole
        and (before := past.last_of(one.name)) is not None
        and not set(before.lists) <= {*one.lists}
    }
