"""A made-up report, the mistakes that a laboratory's program can make at ABDM, and the answers that it gets."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

Json = dict[str, Any]


def utc(at: datetime | None = None) -> str:
    return (at or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


@dataclass
class Record:
    """A report of a patient."""

    reference: str
    patient: str  # the laboratory's own number
    address: str
    number: str | None
    name: str
    gender: str
    year: int
    mobile: str
    issued: datetime = field(default_factory=lambda: datetime.now(UTC))

    def document(self, owner: str | None = None) -> Json:
        address = owner or self.address
        patient = {"resourceType": "Patient", "identifier": [{"value": address}, {"value": self.patient}]}
        report = {"resourceType": "DiagnosticReport", "issued": utc(self.issued), "code": {"text": "Glucose"}}
        composition = {"resourceType": "Composition", "title": "Lab report", "date": utc(self.issued)}
        entries = [{"resource": one} for one in (composition, patient, report)]
        return {"resourceType": "Bundle", "type": "document", "timestamp": utc(self.issued), "entry": entries}


@dataclass
class Habits:
    """Mistakes, all off.

    Attributes:
        headers: over those of each call; None leaves one out.
        push_headers: as ``headers``, of a page.
        body: changes the body of each call: name, body -> body.
        raw: the bytes of each call, in place of its JSON.
        page: changes a page before it is sent.
        document: changes a document before it is sealed.
        same_keys: one key pair and nonce for all pages.
        same_nonce: one nonce for all pages.
        more: contexts that are sent besides those of the consent.
        trusting: takes each callback without a look at its token.
        answers_twice: sends each answer twice.
        forgets_revocation: sends also after the consent was revoked.
        checks_nothing: acknowledges each request.
        skips_acknowledgement: pushes without on-request.
        status: of its answers to callbacks.
        says_delivered: reports each context as delivered.
        links_any_otp: takes each OTP.
        matches_mobile_alone: the patient with the same mobile is the one.
        same_request_id: one REQUEST-ID for all calls.
    """

    headers: dict[str, str | None] = field(default_factory=dict)
    push_headers: dict[str, str | None] = field(default_factory=dict)
    body: Callable[[str, Json], Any] = lambda name, body: body
    raw: bytes | None = None
    page: Callable[[Json], Json] = lambda page: page
    document: Callable[[Json], Any] = lambda document: document
    same_keys: bool = False
    same_nonce: bool = False
    more: tuple[str, ...] = ()
    trusting: bool = False
    answers_twice: bool = False
    forgets_revocation: bool = False
    checks_nothing: bool = False
    skips_acknowledgement: bool = False
    status: int = 202
    says_delivered: bool = False
    links_any_otp: bool = False
    matches_mobile_alone: bool = False
    same_request_id: bool = False


@dataclass
class Heard:
    """The answer to a call."""

    status: int
    text: str
    request_id: str
    headers: dict[str, str]

    @property
    def json(self) -> Any:
        return json.loads(self.text) if self.text else None

    @property
    def code(self) -> str:
        said = self.json
        return str(said.get("error", said).get("code")) if isinstance(said, dict) else ""
