"""ABDM: the state of each laboratory, its care contexts, consents and requests for records. Patients are masked."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from engine.features.abdm.rows import details
from engine.features.abdm.rows.lists import ConsentLine, ContextLine, MaskedPatient, TransferLine
from engine.features.abdm.rows.state import FacilityState
from engine.model.process.clock import from_us
from engine.views.view import Field, Head, View, at, cell, or_none, printable, table

SIGNATURE = "not verified: the bytes that are signed are not published"
TROUBLES: Mapping[str, tuple[str, str]] = {
    "moved": ("reports that a correction took from their patient", "labrelay abdm contexts --reason moved"),
    "same_number": ("reports with the number of another patient's", "labrelay abdm contexts --reason same_number"),
    "other_name": ("reports with the ABHA of a patient of another name", "labrelay abdm contexts --reason other_name"),
    "not_linked": ("reports that could not be linked", "labrelay abdm contexts --state failed"),
    "suspended": ("suspended consents", "labrelay abdm consents --reason suspended"),
    "callbacks_refused": ("callbacks of the last 7 days that could not be used", "labrelay todo"),
    "callbacks_behind": ("callbacks that wait for a minute or longer", "labrelay status"),
    "calls_again": ("calls that failed and are tried again", "labrelay abdm preflight"),
    "calls_failed": ("calls given up in the last 24 hours", "labrelay abdm preflight"),
}
"""What is not well at a laboratory: words, and where to look."""


def _patient(one: Any) -> dict[str, Any]:
    who: MaskedPatient = one.patient
    return {"name": who.name, "abha_number": who.abha_number, "abha_address": who.abha_address, "known": who.is_known}


def _patient_cell(one: Any) -> str:
    who: MaskedPatient = one.patient
    return " ".join(filter(None, (who.name, who.abha_number, who.abha_address)))


FACILITY = View[FacilityState](
    "facilities",
    Field("facility", "FACILITY"),
    Field("name", "NAME"),
    Field("well", "WELL", of="is_well"),
    Field("troubles", of=lambda one: dict(one.troubles)),
    Field("contexts", of=lambda one: dict(one.contexts)),
    Field("moved"),
    Field("same_number"),
    Field("other_name"),
    Field("calls_waiting", "CALLS", right=True),
    Field("calls_again", right=True),
    Field("calls_failed", "FAILED", right=True),
    Field("consents", of=lambda one: dict(one.consents)),
    Field("suspended", "SUSPENDED", right=True),
    Field("unsure", right=True),
    Field("transfers_open", "TRANSFERS", right=True),
    Field("last_callback", "LAST CALLBACK", of=at("last_callback_us")),
    Field("callbacks_behind", right=True),
    Field("callbacks_refused", "REFUSED", right=True),
)
_STANDING: tuple[Field[Any], ...] = (Field("facility", "FACILITY"), Field("state", "STATE"), Field("reason", "REASON"))
CONTEXT = View[ContextLine](
    "contexts",
    Field("number", "CONTEXT", right=True),
    Field("changed", "CHANGED", of=at("changed_us")),
    *_STANDING,
    Field("patient", "PATIENT", of=_patient, shown=_patient_cell),
    Field("message", "MESSAGE", of=or_none("message_id"), right=True),
    Field("version", "VERSION", right=True),
    Field("notified", "NOTIFIED", right=True),
    Field("issued", of=at("issued_us")),
    Field("made", of=at("made_us")),
)
CONSENT = View[ConsentLine](
    "consents",
    Field("number", "CONSENT", right=True),
    Field("changed", "CHANGED", of=at("changed_us")),
    *_STANDING,
    Field("ends", "ENDS", of=at("ends_us")),
    Field("patient", "PATIENT", of=_patient, shown=_patient_cell),
    Field("requests", "REQUESTS", of="served", right=True),
    Field("delivered", "SENT", right=True),
    Field("last_sent", "LAST", of=at("last_us")),
    Field("id", "ID", of="consent_id"),
    Field("made", of=at("made_us")),
)
TRANSFER = View[TransferLine](
    "transfers",
    Field("number", "TRANSFER", right=True),
    Field("made", "ASKED", of=at("made_us")),
    *_STANDING,
    Field("pages", "PAGES", right=True),
    Field("delivered", "SENT", right=True),
    Field("page_reasons", "OF PAGES", of=lambda one: list(one.page_reasons)),
    Field("consent", "CONSENT", of=or_none("consent"), right=True),
    Field("consent_id"),
    Field("changed", of=at("changed_us")),
)
VERSION = View[details.VersionLine](
    "versions",
    Field("version", "VERSION", right=True),
    Field("message", "MESSAGE", of=or_none("message_id"), right=True),
    Field("at", "RECEIVED", of=at("at_us")),
    Field("notified", "NOTIFIED", of="is_told"),
)
STEP = View[details.StepLine](
    "calls",
    Field("number", "CALL", right=True),
    Field("changed", "CHANGED", of=at("changed_us")),
    Field("name", "NAME"),
    Field("state", "STATE"),
    Field("code", "CODE"),
    Field("status", "STATUS", of=or_none("status"), right=True),
    Field("attempts", "ATTEMPTS", of="attempt", right=True),
    Field("made", of=at("made_us")),
)
PAGE = View[details.PageLine](
    "pages",
    Field("transfer", "TRANSFER", right=True),
    Field("page", "PAGE", of="n", right=True),
    Field("context", "CONTEXT", right=True),
    Field("message", "MESSAGE", of=or_none("message_id"), right=True),
    Field("state", "STATE"),
    Field("reason", "REASON"),
    Field("changed", "CHANGED", of=at("changed_us")),
    Field("status", "STATUS", of=or_none("status"), right=True),
    Field("attempts", "ATTEMPTS", of="attempt", right=True),
    Field("consent", "CONSENT", of=or_none("consent"), right=True),
)
LEFT = View[details.Left](
    "not_sent", Field("context", "CONTEXT", of=or_none("context"), right=True), Field("reason", "REASON")
)


def context_in_full(one: details.ContextInFull) -> dict[str, Any]:
    return {
        **CONTEXT.row(one.line),
        "versions": VERSION.rows(one.versions),
        "calls": STEP.rows(one.steps),
        "sent": PAGE.rows(one.sent),
    }


def context_lines(one: details.ContextInFull) -> Iterator[str]:
    yield Head(f"care context {one.line.number}")
    yield from _facts(CONTEXT.row(one.line))
    yield from _under("versions", VERSION, one.versions)
    yield from _under("calls to the gateway", STEP, one.steps)
    yield from _under("sent to readers", PAGE, one.sent)


def consent_in_full(one: details.ConsentInFull) -> dict[str, Any]:
    return {
        **_consent(one),
        "contexts": list(one.contexts),
        "transfers": [
            {**TRANSFER.row(each.line), "sent_pages": PAGE.rows(each.pages), LEFT.name: LEFT.rows(each.left)}
            for each in one.sent
        ],
    }


def consent_lines(one: details.ConsentInFull) -> Iterator[str]:
    yield Head(f"consent {one.line.number}")
    yield from _facts(_consent(one))
    yield f"  {'contexts':<22} {', '.join(str(each) if each else 'not here' for each in one.contexts)}".rstrip()
    yield from _under("requests under it", TRANSFER, [each.line for each in one.sent])
    for each in one.sent:
        yield from _under(f"pages of request {each.line.number}", PAGE, each.pages)
        yield from _under(f"not sent of request {each.line.number}", LEFT, each.left)


def _consent(one: details.ConsentInFull) -> dict[str, Any]:
    granted = _granted(one.granted) if one.granted is not None else None
    signature = "verified" if one.is_signed else SIGNATURE
    return {**CONSENT.row(one.line), "signature": signature, "grants": one.grants, "granted": granted}


def _facts(document: Mapping[str, Any]) -> Iterator[str]:
    for name, said in document.items():
        if isinstance(said, dict):
            yield from _facts({f"{name} {inner}": each for inner, each in said.items()})
        elif said not in (None, "", []):
            yield f"  {name.replace('_', ' '):<22} {cell(said)}"


def _under(title: str, view: View[Any], items: Sequence[Any]) -> Iterator[str]:
    if items:
        yield ""
        yield title
        yield from table(items, view.columns)


def _granted(one: details.Granted) -> dict[str, Any]:
    repeats, value, unit = one.frequency or (0, 0, "")
    return {
        "purpose": one.purpose,
        "reader": one.reader,
        "reader_name": one.reader_name,
        "hi_types": list(one.hi_types),
        "from": from_us(one.from_us),
        "until": from_us(one.until_us),
        "access_mode": one.access_mode,
        "frequency": {"repeats": repeats, "value": value, "unit": unit} if one.frequency else None,
    }


def state_in_full(found: Sequence[FacilityState], account: Mapping[str, Any] | None) -> dict[str, Any]:
    """
    Args:
        account: `AbdmSnapshot` as JSON; None: no daemon has looked at it.
    """
    well = all(one.is_well for one in found) and not (account or {}).get("faults")
    return {"well": well, "account": account, FACILITY.name: FACILITY.rows(found)}


def state_lines(found: Sequence[FacilityState], account: Mapping[str, Any] | None) -> Iterator[str]:
    """What is wrong with the account; of each laboratory what is not well first, then all counts."""
    faults = (account or {}).get("faults") or ()
    if found:
        yield Head("account: not looked at" if account is None else f"account: {'look at' if faults else 'well'}")
    for fault in faults:
        of = f" of {fault['facility']}" if fault["facility"] else ""
        yield f"  {fault['code']}{of}: {printable(fault['text'])} -> {printable(fault['remedy'])}"
    for one in found:
        yield ""
        name = f" {one.name}" if one.name else ""
        yield Head(f"{one.facility}{name}: {'well' if one.is_well else 'look at'}")
        for trouble, count in one.troubles.items():
            words, where = TROUBLES[trouble]
            yield f"  {words}: {count} -> {where}"
        yield f"  contexts   {_counts(one.contexts)}"
        yield f"  consents   {_counts(one.consents)}"
        yield f"  calls      waiting {one.calls_waiting}, tried again {one.calls_again}"
        yield f"  transfers  open {one.transfers_open}"
        yield f"  callbacks  {f'last {cell(from_us(one.last_callback_us))}' if one.last_callback_us else 'none yet'}"


def _counts(found: Mapping[str, int]) -> str:
    return ", ".join(f"{state.lower()} {count}" for state, count in found.items())
