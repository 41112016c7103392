"""What each call of a laboratory does at the gateway and the consent manager, and which callback it leads to."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from workbench.abdm import bodies
from workbench.abdm.callbacks import Callback, may_be_called
from workbench.abdm.calls import SERVICE, UNKNOWN, Gate, Heard
from workbench.abdm.faults import Faults
from workbench.abdm.people import Person
from workbench.abdm.signing import Signer
from workbench.abdm.state import MOST_CONTEXTS, Asked, CareContext, Discovery, LinkToken, State, Transfer
from workbench.errors import GatewayRefusalError

BRIDGE = "SIMULATED-BRIDGE"
MISMATCHES = 3  # of one person, then the facility is blocked
LINKED = "Successfully Linked care context"


@dataclass
class Outcome:
    """What follows on a call.

    Attributes:
        then: done unless a fault makes an error of the callback.
    """

    body: Any = None
    callback: Callback | None = None
    then: list[Callable[[], None]] = field(default_factory=list)
    status: int = 0


class Effects:
    """By name of the call."""

    def __init__(self, state: State, signer: Signer, gate: Gate, faults: Faults) -> None:
        self._state = state
        self._signer = signer
        self._gate = gate
        self._faults = faults
        self.pull: Callable[[Person, str, str], None] = lambda person, facility, reference: None
        self._of: dict[str, Callable[[Any, Heard], Outcome]] = {
            "session": self._session,
            "bridge-url": self._bridge_url,
            "bridge-services": self._bridge_services,
            "bridge-service": self._bridge_service,
            "certs": lambda said, heard: Outcome(signer.keys()),
            "generate-token": self._generate_token,
            "link": self._link,
            "context-notify": self._context_notify,
            "on-discover": self._on_discover,
            "on-init": self._on_init,
            "on-confirm": self._on_confirm,
            "consent-on-notify": self._consent_on_notify,
            "on-request": self._on_request,
            "data-notify": self._data_notify,
            "sms-notify": self._sms_notify,
            "on-share": self._on_share,
            "status-on-notify": self._status_on_notify,
        }

    def carry_out(self, heard: Heard) -> Outcome:
        """
        Raises:
            GatewayRefusalError: with the answer.
        """
        return self._of[heard.call.name](heard.said, heard)

    def unsure(self, heard: Heard) -> None:
        """The answer to a call was lost: the laboratory may make it again."""
        state, said = self._state, heard.said
        known: Any = None
        if isinstance(said, bodies.GenerateToken):
            known = state.tokens.get((heard.facility, said.abha_address.lower()))
        elif isinstance(said, bodies.DataNotify):
            known = state.transfers.get(said.notification.transaction_id)
        elif isinstance(said, bodies.Answer):
            known = state.asked.get(said.response.request_id)
        if known is not None:
            known.unsure = True

    # -- the gateway -----------------------------------------------------------------------------------------------

    def _session(self, said: bodies.Session, heard: Heard) -> Outcome:
        state = self._state
        if (said.client_id, said.client_secret) != (state.settings.client, state.settings.secret):
            raise GatewayRefusalError(UNKNOWN, "Invalid Credentials", status=401, rule="client")
        life_s = self._faults.token_life_s
        token = self._signer.session(state.now_s(), life_s)
        self._gate.new_session(token, state.now_s() + life_s)
        refresh = {"refreshExpiresIn": 2 * life_s, "refreshToken": "not-used"}
        body = {"accessToken": token, "expiresIn": life_s, **refresh, "tokenType": "bearer"}
        return Outcome(body, status=state.settings.session_status)

    def _bridge_url(self, said: bodies.BridgeUrl, heard: Heard) -> Outcome:
        if not may_be_called(said.url, self._state.settings.hosts):
            words = "the simulator calls this machine alone; --host names another one"
            raise GatewayRefusalError("ABDM-1006", words, rule="bridge-url")
        self._state.bridge_url = said.url
        return Outcome()

    def _bridge_services(self, said: None, heard: Heard) -> Outcome:
        state = self._state
        bridge = {"id": BRIDGE, "name": BRIDGE, "url": state.bridge_url, "active": True, "blocklisted": False}
        services = [
            {"id": key, "name": name, "types": ["HIP"], "endpoints": [], "active": True}
            for key, name in state.settings.facilities.items()
        ]
        return Outcome({"bridge": bridge, "services": services})

    def _bridge_service(self, said: None, heard: Heard) -> Outcome:
        service = heard.path.removeprefix(SERVICE.path)
        name = self._state.settings.facilities.get(service)
        if name is None:
            raise GatewayRefusalError("ABDM-1025", "Invalid ServiceId", status=404)
        kinds = {"isHip": True, "isHiu": False, "isHealthLocker": False, "isPhr": False}
        ids = {"id": service, "bridgeId": BRIDGE, "serviceId": service}
        return Outcome({**ids, "name": name, **kinds, "active": True})

    # -- links that the laboratory makes ----------------------------------------------------------------------------

    def _generate_token(self, said: bodies.GenerateToken, heard: Heard) -> Outcome:
        state, address = self._state, said.abha_address.lower()
        key = (heard.facility, address)
        known = state.tokens.get(key)
        if known is not None and known.delivered and not known.dropped:
            rule = "" if known.unsure else "link-token-asked-twice"
            raise GatewayRefusalError("ABDM-1092", "Duplicate Link token request", rule=rule)
        error = self._mismatch(said, key, heard)
        if error is not None:
            return Outcome(callback=self._answering("on-generate-token", heard, {"error": error}, address))
        claims = {"hipId": heard.facility, "abhaAddress": address}
        if said.abha_number:
            claims["abhaNumber"] = said.abha_number
        made = LinkToken(self._signer.link(state.now_s(), **claims))
        state.room(state.tokens)
        callback = self._answering(
            "on-generate-token", heard, {"abhaAddress": address, "linkToken": made.token}, address
        )
        callback.taken = lambda: setattr(made, "delivered", True)
        return Outcome(callback=callback, then=[lambda: state.tokens.update({key: made})])

    def _mismatch(self, said: bodies.GenerateToken, key: tuple[str, str], heard: Heard) -> dict[str, str] | None:
        """The error where a person is not as the consent manager has it."""
        state = self._state
        before = state.mismatches.get(key, [])
        blocked = {"code": "ABDM-1027", "message": "You are blocked. Please try again after 24 hours."}
        if len(before) >= MISMATCHES:
            state.violated("asked-while-blocked", heard.call.name, request_id=heard.request_id)
            return blocked
        person = state.people.get(key[1])
        if person is None:
            return {"code": "ABDM-9999", "message": "User not found"}
        if state.statuses.get(key[1], "ACTIVE") != "ACTIVE":
            words = "The ABHA Number associated with this ABHA Address is currently deactivated. Please reactivate it."
            return {"code": "ABDM-1407", "message": words}
        given = (said.name.casefold(), said.gender, said.year_of_birth, said.abha_number or person.number)
        if given == (person.name.casefold(), person.gender, person.year, person.number):
            return None
        if repr(given) in before:
            state.violated("mismatch-asked-again", heard.call.name, "the same person, again wrong", heard.request_id)
        state.room(state.mismatches)
        state.mismatches[key] = [*before, repr(given)]
        return blocked if len(before) + 1 >= MISMATCHES else {"code": "ABDM-1036", "message": "Data does not matched"}

    def _link(self, said: bodies.Link, heard: Heard) -> Outcome:
        state, address = self._state, said.abha_address.lower()
        self._check_link_token(said, heard, address)
        made: dict[tuple[str, str, str], CareContext] = {}
        for person in said.patient:
            for one in person.care_contexts:
                key = (address, heard.facility, one.reference_number)
                self._refuse_another_patients(key, heard)
                made[key] = CareContext(
                    heard.facility, person.reference_number, one.reference_number, one.display, person.hi_type
                )
        if all(key in state.linked for key in made):
            error = {"code": "ABDM-1056", "message": "This care contexts has been already linked"}
            return Outcome(callback=self._answering("on-link", heard, {"error": error}, address))
        state.room(state.linked, MOST_CONTEXTS)
        callback = self._answering("on-link", heard, {"abhaAddress": address, "status": LINKED}, address)
        return Outcome(callback=callback, then=[lambda: state.link(made)])

    def _check_link_token(self, said: bodies.Link, heard: Heard, address: str) -> None:
        token = heard.headers.get("x-link-token", "")
        claims = (self._signer.read(token) if token else None) or {}
        wrong = {
            ("ABDM-1026", "Invalid Link Token"): "hipId" not in claims,
            ("ABDM-1066", "Invalid JWT token"): claims.get("exp", 0) <= self._state.now_s(),
            ("ABDM-1063", "HIP Id mismatch with Link token"): claims.get("hipId") != heard.facility,
            ("ABDM-1038", "ABHA address and Link token mismatch"): claims.get("abhaAddress") != address,
            ("ABDM-1062", "ABHA number mismatch with Link token"): claims.get("abhaNumber", said.abha_number)
            != said.abha_number,
        }
        for (code, message), is_so in wrong.items():
            if is_so:
                self._state.drop_token(heard.facility, address)
                raise GatewayRefusalError(code, message, rule="link-token", detail=message)

    def _refuse_another_patients(self, key: tuple[str, str, str], heard: Heard) -> None:
        address, facility, reference = key
        if self._state.owners.get((facility, reference), address) != address:
            raise GatewayRefusalError("ABDM-1057", "Invalid Care Contexts", rule="context-of-another-patient")

    def _context_notify(self, said: bodies.ContextNotify, heard: Heard) -> Outcome:
        state, notice = self._state, said.notification
        address, reference = notice.patient.id.lower(), notice.care_context.care_context_reference
        if notice.hip.id != heard.facility:
            raise GatewayRefusalError("ABDM-1035", "Invalid HIP ID", rule="body", detail="hip.id is not X-HIP-ID")
        linked = state.linked.get((address, heard.facility, reference))
        if linked is None:
            state.violated("notice-before-link", heard.call.name, request_id=heard.request_id)
            error = {"code": "ABDM-1006", "message": "No care context linked with the given details"}
            body = {"acknowledgement": {"status": "ERRORED"}, "error": error}
            return Outcome(callback=self._answering("on-context-notify", heard, body, address))
        if linked.patient != notice.care_context.patient_reference:
            raise GatewayRefusalError("ABDM-1060", "Invalid Patient Reference Number", rule="patient-reference")
        callback = self._answering("on-context-notify", heard, {"acknowledgement": {"status": "SUCCESS"}}, address)
        told = {"kind": "context", "facility": heard.facility, "context": reference, "date": notice.date}
        then = [
            lambda: state.notify(address, **told),
            lambda: self.pull(state.person(address), heard.facility, reference),
        ]
        return Outcome(callback=callback, then=then)

    def _sms_notify(self, said: bodies.SmsNotify, heard: Heard) -> Outcome:
        if said.notification.hip.id not in self._state.settings.facilities:
            raise GatewayRefusalError("ABDM-1035", "Invalid HIP ID", rule="body", detail="notification.hip.id")
        facility = said.notification.hip.id
        mobile = said.notification.phone_no[-10:]
        told = {"kind": "sms-link", "facility": facility}
        owners = [one.address for one in self._state.people.values() if one.mobile == mobile]
        callback = self._answering("on-sms-notify", heard, {"acknowledgement": {"status": "SUCCESS"}})
        callback.facility = facility
        return Outcome(callback=callback, then=[partial(self._state.notify, one, **told) for one in owners])

    # -- links that the patient makes ------------------------------------------------------------------------------

    def _on_discover(self, said: bodies.OnDiscover, heard: Heard) -> Outcome:
        asked = self._answered("discover", said, heard, "ABDM-1106", "Duplicate On discovery request")
        found = self._discovery(asked, said.transaction_id)
        if said.error is not None:
            found.state, found.error = "no-match", said.error.model_dump()
            return Outcome()
        people = said.patient or []
        if len({one.reference_number for one in people}) > 1:
            words = "several people match; that is no match"
            raise GatewayRefusalError(
                "ABDM-1109", "Invalid On discovery response", rule="ambiguous-match", detail=words
            )
        for person in people:
            for one in person.care_contexts:
                key = (found.person.address, found.facility, one.reference_number)
                if key in self._state.linked:
                    self._state.violated("linked-context-offered", heard.call.name, request_id=heard.request_id)
                self._refuse_another_patients(key, heard)
                found.offered[person.reference_number, one.reference_number] = one.display
        found.state = "found"
        return Outcome()

    def _on_init(self, said: bodies.OnInit, heard: Heard) -> Outcome:
        asked = self._answered("init", said, heard, "ABDM-1107", "Duplicate On init request")
        found = self._discovery(asked, said.transaction_id)
        if said.link is None:
            found.state, found.error = "init-failed", said.error.model_dump() if said.error else None
            return Outcome()
        meta = said.link.meta
        if bodies.instant(meta.communication_expiry) <= self._state.now():
            raise GatewayRefusalError(
                "ABDM-1110", "Invalid On init response", rule="body", detail="communicationExpiry"
            )
        if re.search("[0-9]{10}", meta.communication_hint):
            self._state.violated("mobile-shown", heard.call.name, "communicationHint", heard.request_id)
        found.state, found.link_reference = "otp-sent", said.link.reference_number
        return Outcome()

    def _on_confirm(self, said: bodies.OnConfirm, heard: Heard) -> Outcome:
        state = self._state
        asked = self._answered("confirm", said, heard, "ABDM-1108", "Duplicate On confirm request")
        found = self._discovery(asked, asked.subject)
        if said.error is not None:
            found.state, found.error = "otp-refused", said.error.model_dump()
            return Outcome()
        texts = [one["text"] for one in state.texts]
        if texts and not any(found.typed in one for one in texts):
            state.violated("wrong-otp-linked", heard.call.name, request_id=heard.request_id)
        made = {
            (person.reference_number, one.reference_number): CareContext(
                found.facility, person.reference_number, one.reference_number, one.display, person.hi_type
            )
            for person in said.patient or []
            for one in person.care_contexts
        }
        if not made.keys() <= set(found.chosen):
            raise GatewayRefusalError("ABDM-1111", "Invalid On confirm response", rule="context-not-chosen")
        state.room(state.linked, MOST_CONTEXTS)
        state.link({(found.person.address, found.facility, one.reference): one for one in made.values()})
        found.state = "linked"
        return Outcome()

    def _discovery(self, asked: Asked, transaction: str) -> Discovery:
        found = self._state.discoveries.get(asked.subject)
        if found is None or transaction != asked.subject:
            words = "Invalid TransactionId or response's requestId"
            raise GatewayRefusalError("ABDM-1052", words, rule="transaction")
        return found

    def _on_share(self, said: bodies.OnShare, heard: Heard) -> Outcome:
        state = self._state
        asked = self._answered("share", said, heard, "ABDM-1087", "Duplicate patient share request")
        address, context = asked.subject.rsplit(" ", 1)
        if said.acknowledgement is None:
            state.notify(address, kind="share-refused", error=said.error.model_dump() if said.error else None)
            return Outcome()
        profile = said.acknowledgement.profile
        if (said.acknowledgement.abha_address.lower(), profile.context) != (address, context):
            raise GatewayRefusalError("ABDM-1015", "Invalid Response", rule="body", detail="another patient or counter")
        key, now_s = (address, asked.facility, context), state.now_s()
        before = state.shares.get(key)
        if before and before["endsS"] > now_s and before["token"] != profile.token_number:
            state.violated(
                "token-changed", heard.call.name, "a scan within its time has the same token", heard.request_id
            )
        state.room(state.shares)
        state.shares[key] = {"token": profile.token_number, "endsS": now_s + int(profile.expiry)}
        state.notify(address, kind="token", facility=asked.facility, context=context, token=profile.token_number)
        return Outcome()

    # -- consents and records --------------------------------------------------------------------------------------

    def _consent_on_notify(self, said: bodies.ConsentOnNotify, heard: Heard) -> Outcome:
        asked = self._answered("consent-notify", said, heard, "ABDM-1030", "Request id not found")
        consent_id, state = asked.subject.split(" ")
        consent = self._state.consents[consent_id]
        if said.acknowledgement is not None:
            if said.acknowledgement.consent_id != consent.id:
                words = "Invalid or already expired consent artefact id"
                raise GatewayRefusalError("ABDM-1112", words, rule="body", detail="acknowledgement.consentId")
            consent.acknowledged.append(state)
        return Outcome()

    def _on_request(self, said: bodies.OnRequest, heard: Heard) -> Outcome:
        words = "Duplicate health information provider data flow response"
        asked = self._answered("data-request", said, heard, "ABDM-1113", words)
        transfer = self._transfer(asked.subject)
        reason, code = transfer.must_refuse
        if said.hi_request is None:
            transfer.state, transfer.error = "refused", said.error.model_dump() if said.error else None
            if code and said.error is not None and said.error.code != code:
                detail = f"{reason}: {said.error.code}, not {code}"
                self._state.violated("refused-with-another-code", heard.call.name, detail, heard.request_id)
            return Outcome()
        if said.hi_request.transaction_id != transfer.id:
            words = "Invalid TransactionId or response's requestId"
            raise GatewayRefusalError("ABDM-1052", words, rule="transaction")
        if reason:
            self._state.violated("acknowledged-against-consent", heard.call.name, reason, heard.request_id)
        else:
            transfer.consent.served.append(transfer.asked_at)
        transfer.state = "acknowledged"
        return Outcome()

    def _data_notify(self, said: bodies.DataNotify, heard: Heard) -> Outcome:
        done = said.notification
        transfer = self._transfer(done.transaction_id)
        if transfer.outcome is not None:
            words = "Duplicate health information provider data flow response"
            raise GatewayRefusalError("ABDM-1113", words, rule="" if transfer.unsure else "answered-twice")
        for rule, detail in _dishonest(done, transfer):
            self._state.violated(rule, heard.call.name, detail, heard.request_id)
        transfer.state, transfer.outcome = "done", done.status_notification.model_dump(by_alias=True)
        return Outcome()

    def _status_on_notify(self, said: bodies.StatusOnNotify, heard: Heard) -> Outcome:
        self._answered("status-notify", said, heard, "ABDM-1030", "Request id not found")
        return Outcome()

    def _transfer(self, transaction: str) -> Transfer:
        found = self._state.transfers.get(transaction)
        if found is None:
            raise GatewayRefusalError("ABDM-1017", "Invalid TransactionId", rule="transaction")
        return found

    # -- callbacks -------------------------------------------------------------------------------------------------

    def _answered(self, callback: str, said: bodies.Answer, heard: Heard, code: str, words: str) -> Asked:
        """The callback that a call answers.

        Raises:
            GatewayRefusalError: there is none, or it was answered before; the latter with ``code``.
        """
        asked = self._state.asked.get(said.response.request_id)
        if asked is None or asked.callback != callback:
            text = "Invalid TransactionId or response's requestId"
            raise GatewayRefusalError("ABDM-1052", text, rule="answer-to-nothing")
        if heard.facility not in ("", asked.facility):
            raise GatewayRefusalError("ABDM-1035", "Invalid HIP ID", rule="another-facility")
        asked.answers += 1
        if asked.answers > 1:
            raise GatewayRefusalError(code, words, rule="" if asked.unsure else "answered-twice")
        return asked

    def _answering(self, name: str, heard: Heard, body: dict[str, Any], subject: str = "") -> Callback:
        """The callback with the result of a call."""
        return Callback(name, heard.facility, {**body, "response": {"requestId": heard.request_id}}, subject)


def _dishonest(done: bodies.Done, transfer: Transfer) -> list[tuple[str, str]]:
    """What a report of a transfer says that is not so."""
    status, consent, found = done.status_notification, transfer.consent, []
    if done.consent_id != consent.id:
        found.append(("notify-ids", "consentId is not of this transfer"))
    if {status.hip_id, done.notifier.id} != {consent.facility}:
        found.append(("notify-ids", "hipId and notifier.id are not the facility"))
    named = [one.care_context_reference for one in status.status_responses]
    if sorted(named) != sorted(reference for _, reference in consent.contexts):
        found.append(("notify-contexts", "not one line for each care context of the consent"))
    said = {one.care_context_reference for one in status.status_responses if one.hi_status == "DELIVERED"}
    if not transfer.arrived.keys() - transfer.unheard <= said <= transfer.arrived.keys():
        found.append(("notify-dishonest", f"{len(said)} DELIVERED, {len(transfer.arrived)} arrived"))
    if (status.session_status == "TRANSFERRED") != bool(said):
        found.append(("notify-dishonest", f"{status.session_status} with {len(said)} DELIVERED"))
    if transfer.state == "asked":
        found.append(("notify-before-on-request", "the request was not answered yet"))
    return found
