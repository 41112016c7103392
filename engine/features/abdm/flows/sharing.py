"""Scan and share: a patient scans the code of a counter, and his app sends his profile there.

    POST /v3/hip/patient/share                       intent, counter, profile
    POST /api/hiecm/patient-share/v3/on-share        our answer: the number of his token, or why there is none

The profile is the network's own: the patient is kept as verified, and reports that named this ABHA and waited are
linked to him. No report is given to him by name, mobile or a number of the laboratory: several people may share these.
The laboratory system hears of him by a message. Nothing else of the profile is kept.

A scan while a token is in force has the same token, whichever REQUEST-ID it has.

All of this follows once the gateway has taken our answer: any party that has seen a token of the gateway can make a
callback, and the gateway refuses an answer to nothing.

Sources: NHA's OpenAPI documents of 2026-09-16 (patient share); the code on the wall as published programs make it.

Channels of kind ``abdm-share`` get a message for each patient. The token is given in the transaction that folds the
callback. Then it becomes a message of the journal, which is handed to intake as a received one is: with a lane, retries
and an explanation. Where it cannot be stored now, it is tried again.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from engine.config import registry
from engine.config.channel import ChannelConfig
from engine.features.abdm.config import ABDM
from engine.features.abdm.config.destination import AbdmDestination
from engine.features.abdm.config.together import share_of
from engine.features.abdm.flows import linking
from engine.features.abdm.flows.flow import CallKind, Flow
from engine.features.abdm.rows import callbacks, calls, invitations, patients, shares
from engine.features.abdm.rows.contexts import Context
from engine.features.abdm.rows.patients import Person
from engine.features.abdm.rows.shares import Listener, announce, has_shares
from engine.features.abdm.rules import shares as model
from engine.features.abdm.rules.care_contexts import Wait
from engine.features.abdm.rules.links import held, may_be
from engine.features.abdm.rules.network import Call, Callback, GatewayAnswer, PatientState
from engine.features.abdm.rules.shares import COUNTER, Profile, Shared
from engine.model.message import Received, Stored
from engine.model.process.clock import from_us
from engine.receiving import made_here
from engine.store.core.writing.batch import Batch
from engine.store.journal import Journal

SHARE, ON_SHARE = "/v3/hip/patient/share", "on-share"
PROFILE_SHARE = "PROFILE_SHARE"
INTENT, OTHER_FACILITY, NO_COUNTER, FULL, SAME_TOKEN = "intent", "other-facility", "no-counter", "full", "same-token"
MOST_LOOKED_AT = 1_000  # reports that wait for a patient, the newest first
MOST_PENDING = 100  # answers under way that are looked at
UNSUPPORTED, WRONG_FACILITY, NOT_NOW = "ABDM-1149", "ABDM-1035", "ABDM-9999"
WAITS = frozenset({"", "left", Wait.NO_ABHA, Wait.NO_NAME, Wait.NO_BIRTH_YEAR})  # reasons that a scan may answer


def _share(batch: Batch, ours: AbdmDestination, callback: Callback) -> str:
    body = callback.body
    place = _object(body.get("metaData"))
    profile = model.read(_object(body.get("profile")).get("patient"), ours.environment)
    counter = place.get("context")
    if body.get("intent") != PROFILE_SHARE:
        return _refused(batch, callback, INTENT, UNSUPPORTED, "This intent is not supported")
    if place.get("hipId") not in (None, callback.facility):
        return _refused(batch, callback, OTHER_FACILITY, WRONG_FACILITY, "Invalid HIP ID")
    if not isinstance(counter, str) or not COUNTER.fullmatch(counter):
        return _refused(batch, callback, NO_COUNTER, NOT_NOW, "The counter is not known")
    if isinstance(profile, str):
        return _refused(batch, callback, profile, NOT_NOW, "The profile is incomplete")
    known = patients.by_address(batch, callback.facility, profile.address)
    pending = _pending(batch, callback.facility, counter, profile.address)
    number = known.number if known is not None else 0
    token = shares.take(batch, callback.facility, counter, number, pending)
    if token is None:
        return _refused(batch, callback, FULL, NOT_NOW, "No more tokens today", counts=True)
    left_s = max((token.until_us - batch.now_us) // 1_000_000, 1)
    given = {"context": counter, "tokenNumber": str(token.token), "expiry": str(left_s)}
    said = {"status": "SUCCESS", "abhaAddress": profile.address, "profile": given}
    _answer(batch, callback, {"acknowledgement": said}, share=token.number, counts=True, ends_us=token.until_us)
    return "" if token.is_new else SAME_TOKEN


def _pending(batch: Batch, facility: str, counter: str, address: str) -> int:
    """The token of a scan of which the gateway has not taken our answer yet; 0: there is none."""
    for call in calls.under_way(batch, ON_SHARE, MOST_PENDING):
        said = _object(_object(call.body).get("acknowledgement"))
        same_place = call.facility == facility and _object(said.get("profile")).get("context") == counter
        if call.subject and same_place and said.get("abhaAddress") == address:
            return call.subject
    return 0


def _answered(batch: Batch, ours: AbdmDestination, call: Call, answer: GatewayAnswer) -> None:
    """The patient is known by the network's word once the gateway has taken our answer."""
    if not call.was_taken(answer) or not call.about.get("callback"):
        return
    body = callbacks.body(batch, call.about["callback"])
    profile = model.read(_object(body.get("profile")).get("patient"), ours.environment)
    if isinstance(profile, str):  # it was erased meanwhile
        return
    known = patients.by_address(batch, call.facility, profile.address)
    if patients.notice_of(batch, call.facility, profile.address, profile.number) > call.about["callback"]:
        return  # the notice that he has left came after the scan
    if known is not None and known.state is PatientState.DROPPED:
        invitations.returned(batch, known.number)
    own = known.person.patient if known is not None and known.person is not None else ""
    patient = patients.put(batch, call.facility, linking.reference(), _person(profile, own))
    shares.count(batch, call.subject, patient, profile)
    _link(batch, ours, call.facility, patient, profile)


def _person(profile: Profile, own: str) -> Person:
    """``own``: the laboratory's number of him, where a report has said it."""
    return Person(
        address=profile.address,
        number=profile.number,
        name=profile.name,
        gender=profile.gender,
        year=profile.year,
        mobile=profile.mobile,
        patient=own,
        verified=True,
    )


def _link(batch: Batch, ours: AbdmDestination, facility: str, patient: int, profile: Profile) -> None:
    """Give him the reports that wait and name his ABHA."""
    waiting = shares.waiting(batch, facility, WAITS, MOST_LOOKED_AT)
    if his := [one.number for one in waiting if _names(one, profile)]:
        shares.give(batch, his, patient)
    linking.come_back(batch, ours, patient)


def _names(context: Context, profile: Profile) -> bool:
    """Whether a report names this ABHA and no other one, and nothing else of it contradicts."""
    of = held(context.content)
    if of.addresses - {profile.address} or (profile.number and of.numbers - {profile.number}):
        return False
    if not of.addresses and not (of.numbers and profile.number):
        return False
    agrees = of.year in (0, profile.year) and of.gender in ("", "U", profile.gender)
    return agrees and may_be(of, profile.name, profile.gender, profile.year)


def _refused(batch: Batch, callback: Callback, reason: str, code: str, words: str, *, counts: bool = False) -> str:
    _answer(batch, callback, {"error": {"code": code, "message": words}}, counts=counts)
    return reason


def _answer(
    batch: Batch, callback: Callback, body: Mapping[str, Any], *, share: int = 0, counts: bool = False, ends_us: int = 0
) -> None:
    """``counts``: the profile does, once the gateway has taken this answer."""
    said = {**body, "response": {"requestId": callback.request_id}}
    about = {"callback": callback.number} if counts else None
    calls.queue(batch, callback.facility, ON_SHARE, share, said, about=about, ends_us=ends_us)


def _object(said: object) -> Mapping[str, Any]:
    return said if isinstance(said, dict) else {}


FLOW = Flow(
    callbacks={SHARE: _share},
    calls=(CallKind(name=ON_SHARE, path="/api/hiecm/patient-share/v3/on-share", ended=_answered),),
)


def listeners(channels: Mapping[str, ChannelConfig]) -> list[Listener]:
    """The channels that want such messages."""
    return [
        Listener(channel=one.channel, facilities=source.facilities, write=partial(_written, one))
        for one in channels.values()
        if (source := share_of(one)) is not None and one.enabled
    ]


async def run(
    journal: Journal, channels: Callable[[], Mapping[str, ChannelConfig]], stored: Callable[[Stored], None]
) -> None:
    """Until cancelled.

    Args:
        channels: of the configuration in force.
        stored: as of `engine.receiving.channel.Channel`.
    """
    await made_here.run(journal, has_shares, lambda: journal.run(announce, listeners(channels())), stored)


def _written(channel: ChannelConfig, shared: Shared) -> Received:
    """The message of a token, as if it had come over the channel."""
    codec = registry.load(ABDM, "shared_profile")
    at = from_us(shared.at_us).astimezone(ZoneInfo(channel.timezone)).strftime("%Y%m%d%H%M%S%z")
    return Received(
        channel=channel.channel,
        payload=codec.message(shared, at=at, settings=channel.settings),
        received_us=shared.at_us,
        control_id=codec.control_id(shared),
        message_type=codec.TYPE,
        sent=at,
    )
