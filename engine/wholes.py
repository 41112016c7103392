"""Reports that are told as a whole: what a new one has no longer is withdrawn with it, or holds it.

    a culture                an isolate or susceptibility that is gone is withdrawn by the same document
    any other result of it   holds the document until a person decides (`Reason.RESULTS_GONE`); a release withdraws it
    `report_list: replace`   as any other result of a culture
    a text of several lines  as any other result of a culture: each line is a result of the same test

The ids of isolates follow the isolate, and not its number in the message (`engine.cultures`).
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from engine.accepted import Accepted, Past
from engine.cultures import Culture, Order, cultures_in, head_codes, is_timed, replace, standing
from engine.meant import NEAR, SEVERAL, is_near
from engine.reasons import Reason
from engine.succession import CANCELLED, CHANGES, RANK, UNFINISHED, WITHDRAWN
from engine.told import Resource


@dataclass(slots=True)
class Wholes:
    """What follows for the cultures of a message.

    Attributes:
        ids: id as the mapping makes it -> id that the resource gets.
        results: names of isolates and susceptibilities, under the ids that they get.
        reports: names of the reports that tell them.
        echoes: names of all that belongs to a culture which was accepted before just so.
        gone: names of results that are withdrawn. closed: of reports.
    """

    ids: dict[str, str] = field(default_factory=dict)
    results: set[str] = field(default_factory=set)
    reports: set[str] = field(default_factory=set)
    echoes: set[str] = field(default_factory=set)
    gone: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)


def find_cultures(mine: Sequence[Resource], past: Past) -> Wholes:
    """How the cultures of a message take the place of those accepted before.

    Raises:
        NotComparedError: a document cannot be read that may tell one of them.
    """
    found = Wholes()
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
        past.take([one.name for one in (*old.results(), *old.reports)])  # what was told of one of them alone
        old = earlier.standing(order, new)
        if old.reports:
            past.look(len(new.isolates) * len(old.isolates) + len(new.reports) * len(old.reports))
            replaced = replace(new, old, lambda identity: _is_taken(f"Observation/{identity}", past))
            found.ids |= replaced.ids
            found.gone += replaced.gone
            found.closed += replaced.closed
        found.results |= {_under(one, found.ids) for one in results}
        found.reports |= {_under(one, found.ids) for one in reports}
    return found


class _Earlier:
    """The cultures that accepted documents tell; each document is gone through once.

    Args:
        codes: under which isolates are told.
    """

    def __init__(self, past: Past, codes: frozenset[str]) -> None:
        self._past, self._codes = past, codes
        self._cultures: dict[int, dict[Order, Culture]] = {}

    def _culture(self, accepted: Accepted, order: Order) -> Culture | None:
        found = self._cultures.get(accepted.document_id)
        if found is None:
            found = self._cultures[accepted.document_id] = cultures_in(accepted.resources, self._codes)
        return found.get(order)

    def tells(self, order: Order, new: Culture) -> bool:
        """Whether a document says of a culture what the new one says: an analyzer sends its memory."""
        said = new.told()
        cultures = (self._culture(one, order) for one in self._past.documents if not one.refused)
        return any(old is not None and old.told() == said for old in cultures)

    def standing(self, order: Order, new: Culture) -> Culture:
        messages = [one for one in self._past.documents if not one.waits and self._is_before(one, order, new)]
        self._past.look(sum(len(one.resources) for one in messages))
        return standing((self._culture(one, order) or Culture(), one.resources) for one in messages)

    def _is_before(self, accepted: Accepted, order: Order, new: Culture) -> bool:
        """Whether a document is about the same culture. Of another day only what was unfinished, or corrected, is."""
        if accepted.same_day:
            return True
        old = self._culture(accepted, order)
        if old is None:
            return True  # one susceptibility of it, perhaps
        ends = any(one.said in UNFINISHED for one in old.reports) or any(one.said in CHANGES for one in new.reports)
        return ends and is_near(new.reports[0].time, old.reports[0].time, NEAR)


def _under(name: str, ids: dict[str, str]) -> str:
    kind, _, identity = name.partition("/")
    return f"{kind}/{ids.get(identity, identity)}"


def _is_taken(name: str, past: Past) -> bool:
    """Whether an id is that of another isolate. One that its sender has withdrawn keeps its id: a person decides."""
    last = past.last_of(name)
    return last is not None and last.said != WITHDRAWN


def missing(
    mine: Sequence[Resource], past: Past, whole: Collection[str], withdrawn: Collection[str], closed: Collection[str]
) -> list[Resource]:
    """The results that stand, and then would stand in no report.

    Args:
        whole: names of the reports of ``mine`` that are told as a whole.
        withdrawn: names of results, closed: of reports, that are withdrawn by the same document.
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


def lines_gone(mine: Sequence[Resource], echoes: frozenset[str], past: Past) -> list[Resource]:
    """The lines of a text that stand, where a new text of the same report and test has fewer: they would stand behind
    it.

    Args:
        echoes: names of results that say again what was accepted; a text of nothing else changes nothing.
    """
    found: dict[str, Resource] = {}
    for lines, others in _texts(mine, echoes, past):
        if len(lines) >= SEVERAL:
            found |= {one.name: one for one in others}
    return list(found.values())


def lines_alone(mine: Sequence[Resource], echoes: frozenset[str], past: Past) -> list[tuple[Reason, str]]:
    """What holds a document that changes one line of a final text, and has none of the others: it may be all of it."""
    found = []
    for lines, others in _texts(mine, echoes, past):
        last = past.last_of(lines[0].name)
        if len(lines) >= SEVERAL or last is None or RANK.get(last.status, 0) < RANK["final"]:
            continue
        if any(one.time == last.time for one in others):
            found.append((Reason.CORRECTS_UNKNOWN, f"one of several lines is told alone ({lines[0].called})"))
    return found


def _texts(
    mine: Sequence[Resource], echoes: frozenset[str], past: Past
) -> Iterator[tuple[list[Resource], list[Resource]]]:
    """The texts, by report and test, of which a line is no echo; and the other lines that were told together there."""
    written = {one.name: one for one in mine}
    for report in mine:
        texts: dict[frozenset[str], list[Resource]] = {}
        for identity in report.lists if report.kind == "DiagnosticReport" else ():
            line = written.get(f"Observation/{identity}")
            if line is not None and line.is_text:
                texts.setdefault(line.codes, []).append(line)
        for codes, lines in texts.items():
            if echoes.issuperset(one.name for one in lines):
                continue
            told: dict[int, dict[str, Resource]] = {}  # document -> its lines
            for accepted, one in past.of_test(codes):
                listing = accepted.listing(one.identity)
                if one.is_text and one.codes == codes and any(old.name == report.name for old in listing):
                    told.setdefault(accepted.document_id, {})[one.name] = one
            names = {name for text in told.values() if len(text) >= SEVERAL for name in text}
            found = [past.last_of(name) for name in sorted(names - written.keys())]
            yield lines, [one for one in found if one is not None and one.status not in (WITHDRAWN, CANCELLED)]


def shortened(mine: Sequence[Resource], past: Past, whole: Collection[str]) -> set[str]:
    """Names of the reports that list no longer all that they listed: a final one is changed."""
    return {
        one.name
        for one in mine
        if one.name in whole
        and (before := past.last_of(one.name)) is not None
        and not set(before.lists) <= {*one.lists}
    }
