"""The patient's app, and the reader's program: what people do, as requests of a test or of a demonstration.

Each model below is the JSON of ``POST /app/NAME``; names of fields are in camel case there.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import uuid4

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from workbench.abdm.callbacks import Callback
from workbench.abdm.people import Person
from workbench.abdm.reader import ID, NAME, PATH, Reader, written
from workbench.abdm.signing import Signer
from workbench.abdm.state import MOST_PEOPLE, Consent, Discovery, State, Transfer
from workbench.errors import GatewayRefusalError

PURPOSES = {
    "CAREMGT": "Care Management",
    "BTG": "Break the Glass",
    "PUBHLTH": "Public Health",
    "HPAYMT": "Healthcare Payment",
    "DSRCH": "Disease Specific Healthcare Research",
    "PATRQT": "Self Requested",
}
UNITS = {"HOUR": 1, "DAY": 24, "WEEK": 7 * 24, "MONTH": 31 * 24, "YEAR": 366 * 24}  # hours
REPORT = "DiagnosticReport"


class Args(BaseModel):
    model_config = ConfigDict(extra="forbid", alias_generator=to_camel, populate_by_name=True)


class Discover(Args):
    """``identifiers``: verified ones instead of the person's own address, number and mobile."""

    patient: str
    facility: str
    identifiers: list[dict[str, str]] | None = None
    unverified: list[dict[str, str]] = Field(default_factory=list)


class Init(Args):
    """``references``: of care contexts; all that were offered where they are left out."""

    transaction_id: str
    references: list[str] | None = None


class Confirm(Args):
    transaction_id: str
    otp: str | int


class Share(Args):
    patient: str
    facility: str
    counter: str = "1"
    intent: str = "PROFILE_SHARE"


class Frequency(Args):
    unit: Literal["HOUR", "DAY", "WEEK", "MONTH", "YEAR"] = "HOUR"
    value: int = 1
    repeats: int = 0


class Grant(Args):
    """``references``: of care contexts; all that are linked where they are left out. ``leave_out``: of the artefact."""

    patient: str
    facility: str
    references: list[str] | None = None
    purpose: str = "CAREMGT"
    hi_types: list[str] = Field(default_factory=lambda: [REPORT])
    begin: AwareDatetime | None = None
    end: AwareDatetime | None = None
    erase_at: AwareDatetime | None = None
    frequency: Frequency = Field(default_factory=Frequency)
    access_mode: str = "VIEW"
    leave_out: list[str] = Field(default_factory=list)


class End(Args):
    """``with_detail``: the notice brings the whole artefact."""

    consent_id: str
    with_detail: bool = False


class Pull(Args):
    """``key_material``, ``push_url``, ``facility``: in place of the right ones.

    Attributes:
        refuse: why the laboratory has to refuse it, where its keys or its address are wrong on purpose.
    """

    consent_id: str
    begin: AwareDatetime | None = None
    end: AwareDatetime | None = None
    key_form: Literal["explicit", "named", "bare"] = "explicit"
    key_material: dict[str, Any] | None = None
    push_url: str | None = None
    facility: str | None = None
    refuse: str = ""


class Status(Args):
    patient: str
    status: Literal["ACTIVE", "DEACTIVATED", "DELETED"]


class NewPerson(Args):
    address: str
    number: Annotated[str, Field(pattern="^[0-9]{14}$")] | None = None
    name: str
    gender: Literal["M", "F", "O", "D", "T", "U"]
    birth: tuple[int, int, int]
    mobile: str


class App:
    """Each method starts a callback, and returns what the app shows at once.

    Raises:
        GatewayRefusalError: of each: there is no such person, consent or transaction; no room for one more.
    """

    def __init__(self, state: State, signer: Signer, reader: Reader, send: Callable[[Callback], None]) -> None:
        self._state = state
        self._signer = signer
        self._reader = reader
        self._send = send
        self.acts: dict[str, tuple[type[Args], Callable[[Any], dict[str, Any]]]] = {
            "discover": (Discover, self.discover),
            "init": (Init, self.init),
            "confirm": (Confirm, self.confirm),
            "share": (Share, self.share),
            "grant": (Grant, self.grant),
            "revoke": (End, lambda end: self.end(end, "REVOKED")),
            "expire": (End, lambda end: self.end(end, "EXPIRED")),
            "pull": (Pull, self.pull),
            "status": (Status, self.status),
            "people": (NewPerson, self.add),
        }

    # -- links -----------------------------------------------------------------------------------------------------

    def discover(self, args: Discover) -> dict[str, Any]:
        state, person = self._state, self._state.person(args.patient)
        own = [("MOBILE", person.mobile), ("ABHA_NUMBER", person.number), ("ABHA_ADDRESS", person.address)]
        verified = args.identifiers
        if verified is None:
            verified = [{"type": kind, "value": value} for kind, value in own if value]
        transaction = str(uuid4())
        state.room(state.discoveries)
        state.discoveries[transaction] = Discovery(transaction, person, args.facility)
        patient = {
            "id": person.address,
            "verifiedIdentifiers": verified,
            "unverifiedIdentifiers": args.unverified,
            "name": person.name,
            "gender": person.gender,
            "yearOfBirth": person.year,
        }
        body = {"transactionId": transaction, "patient": patient}
        self._send(Callback("discover", args.facility, body, transaction))
        return {"transactionId": transaction}

    def init(self, args: Init) -> dict[str, Any]:
        found = self._discovery(args.transaction_id)
        references = args.references
        chosen = [one for one in found.offered if references is None or one[1] in references]
        if not chosen:
            raise GatewayRefusalError("ABDM-1057", "no care context was offered that is chosen here")
        found.chosen, found.state = tuple(chosen), "chosen"
        patients = [
            {
                "referenceNumber": patient,
                "careContexts": [{"referenceNumber": reference} for who, reference in chosen if who == patient],
                "hiType": REPORT,
            }
            for patient in dict.fromkeys(patient for patient, _ in chosen)
        ]
        body = {"transactionId": found.transaction, "abhaAddress": found.person.address, "patient": patients}
        self._send(Callback("init", found.facility, body, found.transaction))
        return {"transactionId": found.transaction}

    def confirm(self, args: Confirm) -> dict[str, Any]:
        found = self._discovery(args.transaction_id)
        found.state, found.typed = "typed", str(args.otp)
        body = {"confirmation": {"token": args.otp, "linkRefNumber": found.link_reference}}
        self._send(Callback("confirm", found.facility, body, found.transaction))
        return {"transactionId": found.transaction}

    def share(self, args: Share) -> dict[str, Any]:
        person = self._state.person(args.patient)
        place = {"latitude": "18.52", "longitude": "73.85"}
        meta = {"hipId": args.facility, "context": args.counter, "hprId": "", **place}
        body = {"intent": args.intent, "metaData": meta, "profile": {"patient": person.profile()}}
        self._send(Callback("share", args.facility, body, f"{person.address} {args.counter}"))
        return {"counter": args.counter}

    def status(self, args: Status) -> dict[str, Any]:
        person = self._state.person(args.patient)
        self._state.statuses[person.address] = args.status
        notice = {"abhaAddress": person.address, "status": args.status}
        if args.status != "ACTIVE":
            notice |= {"deactivationReason": "made-up", "deactivationDate": written(self._state.now())}
        facilities = {place for address, place, _ in self._state.linked if address == person.address}
        for facility in facilities:
            self._send(Callback("status-notify", facility, {"notification": notice}, person.address))
        return {"facilities": sorted(facilities)}

    def add(self, args: NewPerson) -> dict[str, Any]:
        self._state.room(self._state.people, MOST_PEOPLE)
        person = Person(**args.model_dump())
        self._state.people[person.address] = person
        return {"patient": person.address}

    # -- consents and records --------------------------------------------------------------------------------------

    def grant(self, args: Grant) -> dict[str, Any]:
        state, person, now = self._state, self._state.person(args.patient), self._state.now()
        contexts = tuple(
            (one.patient, one.reference)
            for (address, place, _), one in state.linked.items()
            if (address, place) == (person.address, args.facility)
            and (args.references is None or one.reference in args.references)
        )
        if not contexts:
            raise GatewayRefusalError("ABDM-1057", "no care context is linked that is granted here")
        begin, end = args.begin or now - timedelta(days=365), args.end or now + timedelta(hours=1)
        erase_at = args.erase_at or now + timedelta(days=1)
        consent_id = str(uuid4())
        given = args.frequency
        often = (timedelta(hours=UNITS[given.unit] * given.value), given.repeats) if given.value else None
        artefact = self._artefact(args, consent_id, contexts, (begin, end, erase_at))
        state.room(state.consents)
        consent = Consent(
            consent_id,
            person,
            args.facility,
            contexts,
            artefact,
            begin,
            end,
            erase_at,
            often if given.repeats else None,
        )
        state.consents[consent_id] = consent
        self._notice(consent, detail=True)
        return {"consentId": consent_id}

    def _artefact(
        self,
        args: Grant,
        consent_id: str,
        contexts: tuple[tuple[str, str], ...],
        times: tuple[datetime, datetime, datetime],
    ) -> dict[str, Any]:
        begin, end, erase_at = map(written, times)
        permission = {
            "accessMode": args.access_mode,
            "dateRange": {"from": begin, "to": end},
            "dataEraseAt": erase_at,
            "frequency": args.frequency.model_dump(),
        }
        artefact = {
            "schemaVersion": "v3",
            "consentId": consent_id,
            "createdAt": written(self._state.now()),
            "patient": {"id": args.patient},
            "careContexts": [
                {"patientReference": patient, "careContextReference": reference} for patient, reference in contexts
            ],
            "purpose": {"text": PURPOSES.get(args.purpose, ""), "code": args.purpose, "refUri": "http://example.org/"},
            "hip": {"id": args.facility},
            "hiu": {"id": ID, "name": NAME},
            "consentManager": {"id": self._state.settings.environment},
            "requester": {"name": "Dr Made-up", "identifier": {"type": "REGNO", "value": "MH1", "system": "made-up"}},
            "hiTypes": args.hi_types,
            "permission": permission,
        }
        return {name: value for name, value in artefact.items() if name not in args.leave_out}

    def end(self, args: End, state: str) -> dict[str, Any]:
        consent = self._consent(args.consent_id)
        consent.state = state
        self._notice(consent, detail=args.with_detail)
        return {"consentId": consent.id, "state": state}

    def _notice(self, consent: Consent, *, detail: bool) -> None:
        notice: dict[str, Any] = {"status": consent.state, "consentId": consent.id, "grantAcknowledgement": False}
        if detail:
            notice["consentDetail"] = consent.artefact
        notice["signature"] = self._signer.signature(consent.artefact)
        callback = Callback(
            "consent-notify", consent.facility, {"notification": notice}, f"{consent.id} {consent.state}"
        )
        if consent.state != "GRANTED":
            callback.taken = lambda: setattr(consent, "ended_at", consent.ended_at or self._state.now())
        self._send(callback)

    def pull(self, args: Pull) -> dict[str, Any]:
        """As the reader: ask for the records of a consent."""
        state, consent = self._state, self._consent(args.consent_id)
        seed, nonce, material = self._reader.keys(args.key_form)
        begin, end = args.begin or consent.begin, args.end or consent.end
        facility = args.facility or consent.facility
        transaction = str(uuid4())
        state.room(state.transfers)
        must_refuse = self._must_refuse(args, consent, begin, end, facility)
        transfer = Transfer(transaction, consent, seed, nonce, state.now(), begin, end, must_refuse)
        state.transfers[transaction] = transfer
        asked = {
            "consent": {"id": consent.id},
            "dateRange": {"from": written(begin), "to": written(end)},
            "dataPushUrl": args.push_url or f"{state.base}{PATH}",
            "keyMaterial": args.key_material or material,
        }
        body = {"transactionId": transaction, "hiRequest": asked}
        self._send(Callback("data-request", facility, body, transaction))
        return {"transactionId": transaction}

    def _must_refuse(
        self, args: Pull, consent: Consent, begin: datetime, end: datetime, facility: str
    ) -> tuple[str, str]:
        """Why the laboratory has to refuse this, by what it can know, and NHA's code for it where there is one."""
        now = self._state.now()
        over = consent.frequency is not None and (
            sum(now - one < consent.frequency[0] for one in consent.served) >= consent.frequency[1]
        )
        artefact = consent.artefact
        wrong = {
            (args.refuse, ""): bool(args.refuse),
            ("expired", "ABDM-1061"): consent.erase_at <= now
            or (consent.state == "EXPIRED" and consent.ended_at is not None),
            ("not granted", "ABDM-1062"): consent.state != "GRANTED" and consent.ended_at is not None,
            ("another facility", ""): facility != consent.facility,
            ("purpose", ""): artefact.get("purpose", {}).get("code") not in PURPOSES,
            ("types of information", ""): REPORT not in artefact.get("hiTypes", []),
            ("inverted range", ""): begin > end,
            ("range", "ABDM-1063"): begin < consent.begin or end > consent.end,
            ("frequency", ""): over,
        }
        return next((reason for reason, is_so in wrong.items() if is_so), ("", ""))

    async def pull_by_itself(self, person: Person, facility: str, reference: str, after_s: float) -> None:
        """As the patient's app after a notice: a consent to oneself, and a request once it was acknowledged."""
        await asyncio.sleep(after_s)
        try:
            made = self.grant(
                Grant(patient=person.address, facility=facility, references=[reference], purpose="PATRQT")
            )
            consent = self._consent(made["consentId"])
            async with asyncio.timeout(self._state.settings.answer_within_s):
                while not consent.acknowledged:  # noqa: ASYNC110  # the notice may be repeated, or never come
                    await asyncio.sleep(0.05)
            self.pull(Pull(consent_id=consent.id))
        except (GatewayRefusalError, TimeoutError) as error:
            self._state.notify(person.address, kind="pull-failed", error=str(error) or "no answer to the consent")

    # -- what it shows ---------------------------------------------------------------------------------------------

    def shown(self, address: str) -> dict[str, Any]:
        """All that arrived for a person."""
        state, person = self._state, self._state.person(address)
        consents = [one for one in state.consents.values() if one.person == person]
        return {
            "person": person.as_json(),
            "status": state.statuses.get(address, "ACTIVE"),
            "linked": [vars(one) for (owner, _, _), one in state.linked.items() if owner == address],
            "notices": list(state.notices.get(address, ())),
            "consents": [consent_as_json(one) for one in consents],
            "documents": [
                {
                    "transactionId": one.transaction,
                    "consentId": one.consent,
                    "careContextReference": one.context,
                    "document": one.content.decode("utf-8"),
                }
                for one in state.documents
                if one.address == address
            ],
        }

    def discovery_shown(self, transaction: str) -> dict[str, Any]:
        found = self._discovery(transaction)
        offered = [
            {"patientReference": patient, "referenceNumber": reference, "display": display}
            for (patient, reference), display in found.offered.items()
        ]
        return {"state": found.state, "offered": offered, "error": found.error}

    def transfer_shown(self, transaction: str) -> dict[str, Any]:
        found = self._state.transfers.get(transaction)
        if found is None:
            raise GatewayRefusalError("ABDM-1017", "Invalid TransactionId", status=404)
        return {
            "state": found.state,
            "consentId": found.consent.id,
            "mustRefuse": found.must_refuse[0],
            "pages": len(found.pages),
            "pageCount": found.page_count,
            "repeats": found.repeats,
            "arrived": sorted(found.arrived),
            "error": found.error,
            "outcome": found.outcome,
        }

    def consent_shown(self, consent_id: str) -> dict[str, Any]:
        return consent_as_json(self._consent(consent_id))

    def _discovery(self, transaction: str) -> Discovery:
        found = self._state.discoveries.get(transaction)
        if found is None:
            raise GatewayRefusalError("ABDM-1017", "Invalid TransactionId", status=404)
        return found

    def _consent(self, consent_id: str) -> Consent:
        found = self._state.consents.get(consent_id)
        if found is None:
            raise GatewayRefusalError("ABDM-1112", "Invalid or already expired consent artefact id", status=404)
        return found


def consent_as_json(consent: Consent) -> dict[str, Any]:
    return {
        "consentId": consent.id,
        "state": consent.state,
        "facility": consent.facility,
        "acknowledged": consent.acknowledged,
        "contexts": [reference for _, reference in consent.contexts],
    }
