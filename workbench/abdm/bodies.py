"""The bodies of a laboratory's calls, as NHA's OpenAPI documents V3 have them; a field that is not there is a fault."""

import re
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")
MOST_CONTEXTS = 20  # of one call
HI_TYPES = (
    *("Prescription", "DiagnosticReport", "OPConsultation", "DischargeSummary", "ImmunizationRecord"),
    *("HealthDocumentRecord", "WellnessRecord", "Invoice"),
)


def is_time(text: str) -> bool:
    """UTC with milliseconds and ``Z``, the one form that the gateway takes."""
    try:
        return TIME.fullmatch(text) is not None and datetime.fromisoformat(text) is not None
    except ValueError:
        return False


def instant(text: str) -> datetime:
    """Of a text that `is_time`."""
    return datetime.fromisoformat(text)


def _time(text: str) -> str:
    if not is_time(text):
        raise PydanticCustomError("time", "expected UTC with milliseconds and Z, as 2026-11-20T06:10:00.587Z")
    return text


Text = Annotated[str, StringConstraints(min_length=1, max_length=255)]
Uuid = Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$")]
Reference = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_\-@,. ()/:\\]{1,255}$")]
Address = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_.]+[a-zA-Z0-9]@(abdm|sbx)$")]
Number = Annotated[str, StringConstraints(pattern=r"^[0-9]{14}$")]
Time = Annotated[str, AfterValidator(_time)]
HiType = Literal[
    "Prescription", "DiagnosticReport", "OPConsultation", "DischargeSummary", "ImmunizationRecord",
    "HealthDocumentRecord", "WellnessRecord", "Invoice",
]  # fmt: skip


class Body(BaseModel):
    """Strict: a number is no text, and no other field is taken."""

    model_config = ConfigDict(strict=True, extra="forbid", alias_generator=to_camel)


class GatewayError(Body):
    code: Text
    message: Text


class Response(Body):
    request_id: Uuid


class Answer(Body):
    """The answer to a callback."""

    error: GatewayError | None = None
    response: Response


def _either(answer: Any, *results: str) -> None:
    given = [name for name in results if getattr(answer, name) is not None]
    if bool(given) == (answer.error is not None) or (given and len(given) != len(results)):
        raise PydanticCustomError("either", f"expected {' and '.join(results)}, or error")


class Session(Body):
    client_id: Text
    client_secret: Text
    grant_type: Literal["client_credentials"]


class BridgeUrl(Body):
    url: Annotated[str, StringConstraints(pattern=r"^https?://[^/?#\s]+(/[^?#\s]*)?$", max_length=500)]


class GenerateToken(Body):
    abha_address: Address
    abha_number: Number | None = None
    name: Text
    gender: Literal["M", "F", "O", "D", "T", "U"]
    year_of_birth: Annotated[int, Field(ge=1880, le=2200)]


class Context(Body):
    reference_number: Reference
    display: Text


class Linked(Body):
    """One person of a laboratory with care contexts, as each call for links has them."""

    reference_number: Reference
    display: Text
    care_contexts: Annotated[list[Context], Field(min_length=1)]
    hi_type: HiType
    count: Annotated[int, Field(ge=1, le=MOST_CONTEXTS)]

    @model_validator(mode="after")
    def counts(self) -> "Linked":
        if self.count != len(self.care_contexts):
            raise PydanticCustomError("context_count", "count is not the number of careContexts")
        return self


class Link(Body):
    abha_address: Address
    abha_number: Number | None = None
    patient: Annotated[list[Linked], Field(min_length=1)]


class PatientId(Body):
    id: Address


class ContextId(Body):
    patient_reference: Reference
    care_context_reference: Reference


class Hip(Body):
    id: Text
    name: Text | None = None
    type: Text | None = None


class Noticed(Body):
    patient: PatientId
    care_context: ContextId
    hi_types: Annotated[list[HiType], Field(min_length=1)]
    date: Time
    hip: Hip


class ContextNotify(Body):
    notification: Noticed


class OnDiscover(Answer):
    transaction_id: Text
    patient: Annotated[list[Linked], Field(min_length=1)] | None = None
    matched_by: Annotated[list[Literal["MR", "MOBILE", "ABHA_NUMBER", "ABHA_ADDRESS"]], Field(min_length=1)] | None = (
        None
    )

    @model_validator(mode="after")
    def either(self) -> "OnDiscover":
        _either(self, "patient", "matched_by")
        return self


class OtpMeta(Body):
    communication_medium: Literal["MOBILE"]
    communication_hint: Text
    communication_expiry: Time


class LinkReference(Body):
    reference_number: Text
    authentication_type: Literal["DIRECT"]
    meta: OtpMeta


class OnInit(Answer):
    transaction_id: Text
    link: LinkReference | None = None

    @model_validator(mode="after")
    def either(self) -> "OnInit":
        _either(self, "link")
        return self


class OnConfirm(Answer):
    patient: Annotated[list[Linked], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def either(self) -> "OnConfirm":
        _either(self, "patient")
        return self


class ConsentTaken(Body):
    status: Literal["OK"]
    consent_id: Text


class ConsentOnNotify(Answer):
    acknowledgement: ConsentTaken | None = None

    @model_validator(mode="after")
    def either(self) -> "ConsentOnNotify":
        _either(self, "acknowledgement")
        return self


class Acknowledged(Body):
    transaction_id: Text
    session_status: Literal["ACKNOWLEDGED"]


class OnRequest(Answer):
    hi_request: Acknowledged | None = None

    @model_validator(mode="after")
    def either(self) -> "OnRequest":
        _either(self, "hi_request")
        return self


class ContextStatus(Body):
    care_context_reference: Reference
    hi_status: Literal["DELIVERED", "ERRORED"]
    description: Annotated[str, StringConstraints(max_length=255)] = ""


class SessionStatus(Body):
    session_status: Literal["TRANSFERRED", "FAILED"]
    hip_id: Text
    status_responses: Annotated[list[ContextStatus], Field(min_length=1)]


class Notifier(Body):
    type: Literal["HIP"]
    id: Text


class Done(Body):
    consent_id: Text
    transaction_id: Text
    done_at: Time
    notifier: Notifier
    status_notification: SessionStatus


class DataNotify(Body):
    notification: Done


class NamedHip(Body):
    id: Text
    name: Text


class Sms(Body):
    phone_no: Annotated[str, StringConstraints(pattern=r"^(\+?91-?)?[6-9][0-9]{9}$")]
    hip: NamedHip


class SmsNotify(Body):
    notification: Sms


class Token(Body):
    context: Text
    token_number: Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z]{1,20}$")]
    expiry: Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,6}$")]


class Shared(Body):
    status: Literal["SUCCESS"]
    abha_address: Address
    profile: Token


class OnShare(Answer):
    acknowledgement: Shared | None = None

    @model_validator(mode="after")
    def either(self) -> "OnShare":
        _either(self, "acknowledgement")
        return self


class StatusTaken(Body):
    status: Literal["OK", "SUCCESS"]


class StatusOnNotify(Answer):
    acknowledgement: StatusTaken | None = None


class PublicKey(Body):
    expiry: Time
    parameters: Text
    key_value: Annotated[str, StringConstraints(min_length=1, max_length=1000)]


class KeyMaterial(Body):
    crypto_alg: Literal["ECDH"]
    curve: Literal["Curve25519"]
    dh_public_key: PublicKey
    nonce: Text


class Entry(Body):
    content: Annotated[str, StringConstraints(min_length=1)]
    media: Literal["application/fhir+json"]
    checksum: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
    care_context_reference: Reference


class Page(Body):
    """What a laboratory pushes to a reader: one entry, under keys of its own."""

    page_number: Annotated[int, Field(ge=1)]
    page_count: Annotated[int, Field(ge=1, le=100_000)]
    transaction_id: Text
    entries: Annotated[list[Entry], Field(min_length=1, max_length=1)]
    key_material: KeyMaterial

    @model_validator(mode="after")
    def numbered(self) -> "Page":
        if self.page_number > self.page_count:
            raise PydanticCustomError("page_number", "pageNumber is above pageCount")
        return self
