"""One message's dead letters in full: the message, the failure, the server's answer, and the likely fix.

Contents are masked (letters x, digits 9) unless a person asks for them, which is noted first. Technical content without
patient data is shown unmasked (`engine.model.texts.technology`): places, rules, codes, units, status, the codes and
places of an OperationOutcome or of an HL7 acknowledgement. A server's own texts stay masked, except for places and
numbers of errors.
"""

import json
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import orjson

from engine.mapping.explanations.differences import differences
from engine.mapping.fhir.r4 import RESOURCES
from engine.model.errors import LabRelayError
from engine.model.journal.journal_views import DeadLetter, DeliveryView, Trace
from engine.model.texts import technology
from engine.model.texts.reasons import ReasonCode, help_of
from engine.model.texts.signs import text
from engine.store.operations.dead_letters import likely_fix
from engine.store.queries.reader import stored_document, stored_payload
from engine.store.queries.tallies import list_unmapped
from engine.views.messages import as_text, attempt_words, attempts, issue_words
from engine.views.text import Head, printable
from engine.views.view import View

if TYPE_CHECKING:
    from engine.model.routes import ChannelRoutes
    from engine.store.queries.reader import Reader

MOST_ELEMENTS = 200  # of a conflict that are listed
LONGEST = 60  # signs of a value in a table of two versions
_CODE = re.compile(
    "fatal|error|warning|information|invalid|structure|required|value|invariant|security|login|unknown|expired|"
    "forbidden|suppressed|processing|not-supported|duplicate|multiple-matches|not-found|deleted|too-long|code-invalid|"
    "extension|too-costly|business-rule|conflict|transient|lock-error|no-store|exception|timeout|incomplete|throttled|"
    "informational"
)  # IssueSeverity and IssueType of R4
_KIND = "|".join(sorted(RESOURCES))
_STEP = rf"\.[a-z][A-Za-z]*|\.(?:{_KIND})|\.ofType\([A-Za-z]+\)|\[[0-9]+\]|/\*[A-Za-z]+/[0-9a-f-]*\*/"
_PLACE = re.compile(rf"(?:{_KIND})(?:{_STEP})*(?: *\(line [0-9]+, col(?:umn)? ?[0-9]+\))?")


def document_of(
    reader: "Reader",
    trace: Trace,
    found: Sequence[DeadLetter],
    view: View[DeadLetter],
    *,
    codes: frozenset[str],
    unmask: bool,
    parsed: bool,
    routes: "ChannelRoutes | None",
) -> dict[str, Any]:
    """The document of `dlq show`.

    Args:
        view: of a letter in a list.
        codes: of the code tables. They are no person's data, and neither are those that no table has, as
            `labrelay gaps` lists them.
        routes: of the message's channel, to read the message by; None: there is none.
    """
    payload = stored_payload(reader, trace.message.id)
    gaps = [text for gap in list_unmapped(reader, trace.message.channel) for text in (gap.code, gap.unit)]
    known = codes | technology.codes_of(*gaps)
    deliveries = {delivery.id: delivery for delivery in trace.deliveries}
    document: dict[str, Any] = {
        "message": trace.message.id,
        "edited_from": trace.edited_from or None,
        "dead_letters": [
            {
                **view.row(letter),
                **_letter(reader, trace, letter, deliveries.get(letter.delivery_id), known, unmask=unmask),
            }
            for letter in found
        ],
        "masked": not unmask,
        "raw": raw(payload, known, masked=not unmask),
    }
    if parsed:
        document["parsed"] = fields(routes, payload, known, masked=not unmask)
    return document


def _letter(
    reader: "Reader",
    trace: Trace,
    letter: DeadLetter,
    delivery: DeliveryView | None,
    known: frozenset[str],
    *,
    unmask: bool,
) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "detail": delivery.detail if delivery is not None else trace.detail,
        "help": help_of(letter.reason),
        "fix": likely_fix(letter.reason, letter.channel),
        "mapping": trace.mapping,
        "issues": list(trace.issues),
    }
    if delivery is None:
        return shown
    shown["attempts"] = attempts(delivery, answers=False)
    conflict = conflicts(reader, delivery, known, masked=not unmask)
    if conflict:
        shown["conflict"] = conflict
    elif delivery.answer:
        shown["outcome"] = outcome(delivery.answer, masked=not unmask)
        if unmask:
            shown["answer"] = as_text(delivery.answer)
    return shown


# -- contents --------------------------------------------------------------------------------------------------------


def raw(payload: bytes, known: frozenset[str], *, masked: bool) -> list[str]:
    """The segments or records of a message, one a line."""
    lines = payload.replace(b"\r\n", b"\r").replace(b"\n", b"\r").split(b"\r")
    if not masked:
        return [text(line, masked=False) for line in lines if line]
    return [technology.line(line, known, lambda other: text(other, masked=True)) for line in lines if line]


def fields(
    routes: "ChannelRoutes | None", payload: bytes, known: frozenset[str], *, masked: bool
) -> list[dict[str, Any]]:
    """Each field that has something in it, with its place; empty where the message cannot be read."""
    if routes is None:
        return []
    try:
        parsed = routes.message_format.parse(payload, routes.options)
    except LabRelayError:
        return []
    return [
        {
            "place": f"{segment.name}[{segment.ordinal}]-{number}",
            "value": technology.field(segment.name, number, value, known) if masked else value,
        }
        for segment in parsed.segments
        for number, value in enumerate(segment.fields)
        if number and value
    ]


def outcome(answer: bytes, *, masked: bool) -> list[dict[str, Any]]:
    """The issues of an OperationOutcome, or the errors of an HL7 acknowledgement; its free text may name a patient."""
    if answer.startswith(b"MSH"):
        return _of_acknowledgement(answer, masked=masked)
    try:
        content = orjson.loads(answer)
        issues = content["issue"] if content["resourceType"] == "OperationOutcome" else []
        return [
            {
                "severity": _plain(str(issue.get("severity", "")), _CODE, masked=masked),
                "code": _plain(str(issue.get("code", "")), _CODE, masked=masked),
                "expression": [
                    _plain(str(one), _PLACE, masked=masked)
                    for one in issue.get("expression") or issue.get("location") or ()
                ],
                "details": [
                    technology.error_code(one) if masked else one
                    for coding in (issue.get("details") or {}).get("coding") or ()
                    if (one := str(coding.get("code") or ""))
                ],
                "diagnostics": technology.said(said, _PLACE) if masked else said,
            }
            for issue in issues
            for said in (str(issue.get("diagnostics") or (issue.get("details") or {}).get("text") or ""),)
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []


def outcome_words(issue: dict[str, Any]) -> str:
    """One of `outcome` as a line."""
    place = f" at {', '.join(issue['expression'])}" if issue["expression"] else ""
    said = printable(" ".join([*issue["details"], issue["diagnostics"]]))
    return f"the server says: {' '.join(filter(None, (issue['severity'], issue['code'])))}{place} {said}".rstrip()


def _of_acknowledgement(answer: bytes, *, masked: bool) -> list[dict[str, Any]]:
    """MSA and ERR as issues (HL7 v2.5.1, 2.15.5 and 2.15.8); those before 2.5 have ERR-1 only."""
    separator, component = chr(answer[3]), chr(answer[4])
    lines = [line.split(separator) for line in answer.decode("utf-8", "replace").split("\r")]

    def field(line: list[str], number: int) -> str:
        value = line[number] if number < len(line) else ""
        return technology.field(line[0], number, value, frozenset()) if masked else value

    def words(line: list[str], *numbers: int) -> str:
        said = " ".join(line[number] for number in numbers if number < len(line) and line[number])
        return technology.said(said, _PLACE) if masked else said

    (msa, *_) = [*(line for line in lines if line[0] == "MSA"), [""]]
    errors = [line for line in lines if line[0] == "ERR"]
    found = [
        {
            "severity": field(line, 4),
            "code": " ".join(filter(None, (field(msa, 1), field(line, 3).replace(component, " ").strip()))),
            "expression": [field(line, 2).replace(component, "-").strip("-")] if field(line, 2) else [],
            "details": [],
            "diagnostics": words(line, 1, 7, 8),
        }
        for line in errors
    ]
    if not found or words(msa, 3):
        found.insert(0, {"severity": "", "code": field(msa, 1), "expression": [], "details": [],
                         "diagnostics": words(msa, 3)})  # fmt: skip
    return found


def _plain(said: str, shape: "re.Pattern[str]", *, masked: bool) -> str:
    """Text of a server that fits a place or a kind; any other text may quote the message, and is masked."""
    return technology.mask(said) if masked and shape.fullmatch(said) is None else said


# -- two versions ----------------------------------------------------------------------------------------------------


def conflicts(reader: "Reader", delivery: DeliveryView, known: frozenset[str], *, masked: bool) -> list[dict[str, Any]]:
    """The server's version of a resource and the one that we would write now, element by element."""
    if delivery.cause != ReasonCode.CONFLICT.value or not delivery.answer.startswith(b'{"conflicts":'):
        return []
    entries = json.loads(stored_document(reader, delivery.document_id)).get("entry", [])
    ours = {entry["request"]["url"]: entry.get("resource", {}) for entry in entries}
    return [
        {
            "resource": one["resource"],
            "wrote": one["wrote"],
            "has": one["has"] or None,
            "elements": _elements(ours.get(one["resource"], {}), one["theirs"], known, masked=masked),
        }
        for one in json.loads(delivery.answer)["conflicts"]
    ]


def _elements(
    ours: dict[str, Any], theirs: dict[str, Any] | None, known: frozenset[str], *, masked: bool
) -> list[dict[str, str]]:
    if theirs is None:
        return []
    found = differences(_content(theirs), _content(ours))
    return [
        {
            "path": change.path,
            "ours": technology.element(change.path, change.after, known) if masked else change.after,
            "theirs": technology.element(change.path, change.before, known) if masked else change.before,
        }
        for change in found[:MOST_ELEMENTS]
    ]


def _content(resource: dict[str, Any]) -> bytes:
    return json.dumps({name: value for name, value in resource.items() if name != "meta"}).encode()


# -- for people ------------------------------------------------------------------------------------------------------


def lines(document: dict[str, Any]) -> Iterator[str]:
    for letter in document["dead_letters"]:
        yield from _letter_lines(letter)
    if document["edited_from"]:
        yield f"  edited by a person; as received it is message {document['edited_from']}"
    how = " (masked; --unmask shows it, and is noted)" if document["masked"] else ""
    yield Head(f"received{how}")
    yield from (f"  {printable(line)}" for line in document["raw"])
    if "parsed" in document:
        yield Head("fields")
        yield from (f"  {one['place']:<12} {printable(one['value'])}" for one in document["parsed"])


def _letter_lines(letter: dict[str, Any]) -> Iterator[str]:
    where = f" for {letter['destination']}" if letter["destination"] else ""
    yield Head(f"message {letter['message']} of {letter['channel']}{where}: {letter['state']}")
    yield f"  {letter['code']}{': ' + printable(letter['detail']) if letter['detail'] else ''}"
    if letter["help"]:
        yield f"  {letter['help']}"
    yield from (f"  {issue.get('severity', 'issue')}: {issue_words(issue)}" for issue in letter["issues"])
    yield from (f"  {attempt_words(tried)}" for tried in letter.get("attempts", ()))
    yield from (f"  {outcome_words(issue)}" for issue in letter.get("outcome", ()))
    if "answer" in letter:
        yield f"  answer: {printable(letter['answer'])}"
    for one in letter.get("conflict", ()):
        yield from _conflict_lines(one)
    if letter["fix"]:
        yield f"  likely fix: {letter['fix']}"


def _conflict_lines(one: dict[str, Any]) -> Iterator[str]:
    has = f"the server has {one['has']}" if one["has"] else "on the server it was deleted"
    yield f"  {one['resource']}: we wrote version {one['wrote']}, {has}"
    if one["elements"]:
        width = max(len(element["path"]) for element in one["elements"])
        yield f"    {'element':<{width}}  {'ours':<{LONGEST}}  theirs"
        for element in one["elements"]:
            ours, theirs = (printable(element[name])[:LONGEST] or "-" for name in ("ours", "theirs"))
            yield f"    {element['path']:<{width}}  {ours:<{LONGEST}}  {theirs}"
