"""The encrypted pages of a transfer: which reports go, in which form, and why the others do not.

    chosen     contexts of the consent that are there, of its patient, and of the dates that were asked for
    checked    the document names this patient, and keeps the rules of its profile (`engine.features.abdm.wire`)
    sealed     each page with a key pair and a nonce of its own, drawn here and kept nowhere

The newest version of a report goes. A report that names another person never does, also where its context is linked.
The work on a document is done in a thread: `chosen` reads, `made` has no journal.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

from engine.config import registry
from engine.features.abdm.config import ABDM
from engine.features.abdm.config.destination import AbdmDestination
from engine.features.abdm.flows import issues
from engine.features.abdm.rows import contexts, patients
from engine.features.abdm.rows.contexts import Context
from engine.features.abdm.rows.patients import Patient, Person
from engine.features.abdm.rows.transfers import NewPage
from engine.features.abdm.rules.abha import AbhaAddress, AbhaNumber
from engine.features.abdm.rules.care_contexts import Known, Report
from engine.features.abdm.rules.consents import Artefact, DataRequest
from engine.features.abdm.rules.links import Held, may_be
from engine.features.abdm.rules.network import ContextState, PatientState
from engine.model.errors import AbsentError, ContentError, ErasedError, IntegrityError
from engine.model.process.clock import from_us
from engine.model.texts.reasons import ReasonCode
from engine.store.core.connecting import Rows
from engine.store.queries.reader import Reader, stored_document

MEDIA = "application/fhir+json"
ABHA_SYSTEM = "https://healthid.abdm.gov.in"

LEFT: Mapping[str, str] = {
    "absent": "the report is not here any more",
    "withdrawn": "the report was withdrawn",
    "outside": "the report is not of the dates that were asked for",
    "patient_left": "the patient has left the network",
    "no_patient": "no patient of the network is known for the report",
    "other_patient": "the report is of another patient",
    "names_another": "the report names another person",
    "other_name": "neither name, nor year of birth and gender in the report are those of the patient",
    "damaged": "the report cannot be opened",
    "unreadable": "the report cannot be read",
    "too_large": "the report is too large",
    "rule": "the report breaks a rule of its profile",
    "too_many": "the request asks for too much at once",
}
"""Why a report of the consent does not go, and the words of the line about it."""
PDF_TOO_LARGE = "pdf_too_large"
DOCUMENT_BYTES = 5 * 1024 * 1024  # a longer document goes without its PDF
MOST_PAGES = 1_000  # of a transfer
MOST_BYTES = 128 * 1024 * 1024  # of the documents of a transfer


@dataclass(frozen=True, slots=True)
class Choice:
    """A report that may go, and whose it is."""

    context: Context
    person: Person = field(repr=False)


@dataclass(frozen=True, slots=True)
class Ready:
    """A document as it goes out. ``body`` empty: it does not, for ``reason``, with ``detail`` for the log."""

    choice: Choice
    body: bytes = field(default=b"", repr=False)
    reason: str = ""
    detail: str = ""


def chosen(rows: Rows, artefact: Artefact, request: DataRequest) -> tuple[list[Choice], dict[str, str]]:
    """The reports that go, in the order of the consent; and of each other reference why it does not."""
    found: list[Choice] = []
    left: dict[str, str] = {}
    for reference in dict.fromkeys(one.reference for one in artefact.care_contexts):
        context = contexts.by_reference(rows, artefact.facility, reference)
        patient = _patient(rows, context)
        person = patient.person if patient is not None else None
        if reason := why_not(rows, context, patient, artefact, request):
            left[reference] = reason
        elif len(found) == MOST_PAGES:
            left[reference] = "too_many"
        else:
            assert context is not None
            assert person is not None
            found.append(Choice(context, person))
    return found, left


def choice(rows: Rows, number: int, artefact: Artefact, request: DataRequest) -> tuple[Choice | None, str]:
    """As `chosen`, of the context with this number, as it is now."""
    context = contexts.by_number(rows, number)
    patient = _patient(rows, context)
    person = patient.person if patient is not None else None
    reason = why_not(rows, context, patient, artefact, request)
    return (None, reason) if reason or context is None or person is None else (Choice(context, person), "")


def why_not(
    rows: Rows, context: Context | None, patient: Patient | None, artefact: Artefact, request: DataRequest
) -> str:
    """Why a report does not go, one of `LEFT`, before its document is read; empty: it may."""
    if context is None or context.facility != artefact.facility:
        return "absent"
    if context.state is ContextState.DROPPED:
        return "withdrawn"
    if context.state is ContextState.WAITING or not context.patient:
        return "no_patient"
    if patient is None or patient.person is None:
        return "patient_left"
    if not patients.has_address(rows, patient, artefact.patient):
        return "other_patient"
    return "" if request.period.has(from_us(context.issued_us)) else "outside"


def _patient(rows: Rows, context: Context | None) -> Patient | None:
    """None: there is no patient, or he has left the network."""
    patient = patients.by_number(rows, context.patient) if context is not None and context.patient else None
    return patient if patient is not None and patient.state is PatientState.KNOWN else None


def ready(reader: Reader, ours: AbdmDestination, one: Choice) -> Ready:
    """The document of a report as it goes out. May take a while: in a thread.

    Raises:
        StoreError: it cannot be read now.
    """
    try:
        stored = stored_document(reader, one.context.document_id)
    except (ErasedError, AbsentError):
        return Ready(one, reason="absent")
    except IntegrityError:
        return Ready(one, reason="damaged")
    codec, rules = registry.load(ABDM, "documents"), registry.load(ABDM, "rules")
    known = issues.known_of(one.context)
    try:
        report, prepared, tree = codec.going_out(
            stored,
            version=one.context.version,
            max_bytes=DOCUMENT_BYTES,
            profile=ours.profile,
            system=ABHA_SYSTEM,
            number=AbhaNumber.read(one.person.number),
            address=AbhaAddress.read(one.person.address),
            are_all=known is not None and known.is_by_hand,
        )
    except ContentError as error:
        reason = "too_large" if error.reason is ReasonCode.TOO_LARGE else "unreadable"
        return Ready(one, reason=reason, detail=error.place)
    if reason := names_another(report, one.person, known):
        return Ready(one, reason=reason)
    if faults := rules.faults_of(tree, ours.profile):
        return Ready(one, reason="rule", detail=f"{faults[0].rule} at {faults[0].path}")
    return Ready(one, prepared.body, PDF_TOO_LARGE if prepared.left_out else "")


def names_another(report: Report, person: Person, known: Known | None) -> str:
    """Why a document cannot be this patient's, one of `LEFT`; empty: it can. One without an ABHA was linked by the
    laboratory's own number, or by a person.

    Args:
        known: of its context: what a person has said of it counts more than its document.
    """
    address, number = AbhaAddress.read(person.address), AbhaNumber.read(person.number)
    is_by_hand = known is not None and known.is_by_hand
    numbers = report.numbers - known.overruled if known is not None else report.numbers
    if numbers - {number} if number is not None else len(numbers) > 1:
        return "names_another"
    addresses = report.addresses - known.addresses if known is not None and is_by_hand else report.addresses
    if addresses and address not in report.addresses and number not in report.numbers:
        return "names_another"
    said = Held(name=report.name, gender=report.gender, year=report.birth_year or 0)
    return "" if is_by_hand or may_be(said, person.name, person.gender, person.year) else "other_name"


def sealed(documents: list[Ready], request: DataRequest, *, now: datetime, expiry: str) -> list[NewPage]:
    """Pages of documents, numbered from 1. May take a while: in a thread.

    Args:
        now: by which the reader's key is looked at.
        expiry: as a page has it.

    Raises:
        FideliusError: the reader's key has expired meanwhile.
    """
    codec = registry.load(registry.ENCRYPTION, "abdm")
    peer = codec.read_key_material(request.key_material, now)
    return list(_pages(codec, documents, request.transaction_id, peer, expiry, 1, len(documents)))


def sealed_one(document: Ready, request: DataRequest, n: int, count: int, *, now: datetime, expiry: str) -> NewPage:
    """As `sealed`, the page ``n`` of ``count``."""
    codec = registry.load(registry.ENCRYPTION, "abdm")
    peer = codec.read_key_material(request.key_material, now)
    return next(_pages(codec, [document], request.transaction_id, peer, expiry, n, count))


def _pages(
    codec: Any, documents: list[Ready], transaction_id: str, peer: Any, expiry: str, first: int, count: int
) -> Iterator[NewPage]:
    for n, one in enumerate(documents, start=first):
        page = codec.seal(one.body, peer, seed=os.urandom(codec.SEED_BYTES), nonce=os.urandom(codec.NONCE_BYTES))
        context = one.choice.context
        entry = {
            "content": page.content,
            "media": MEDIA,
            "checksum": page.checksum,
            "careContextReference": context.reference,
        }
        body = {
            "pageNumber": n,
            "pageCount": count,
            "transactionId": transaction_id,
            "entries": [entry],
            "keyMaterial": codec.key_material(page, expiry),
        }
        yield NewPage(context.number, context.document_id, orjson.dumps(body), one.reason)
