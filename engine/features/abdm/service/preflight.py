"""Preflight of ABDM: whether the gateway takes our calls, and its callbacks can come in.

Each fault has a constant code. An examination changes nothing.

What each laboratory still lacks at ABDM, for `labrelay doctor` and `labrelay check --online`.

The faults at the gateway are those of the preflight; what the site's own files lack is said beside them.
"""

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Protocol
from uuid import uuid4

from engine.config import registry
from engine.config.channel import ChannelConfig
from engine.config.load import Site
from engine.features.abdm.config import ABDM
from engine.features.abdm.config.destination import HEALTH, AbdmDestination, found_in
from engine.features.abdm.rules.account import AbdmFault
from engine.features.abdm.rules.network import GatewayAnswer, Verdict
from engine.model.process.clock import SystemClock
from engine.model.site.health import Health, Line
from engine.model.texts.phrases import Phrase
from engine.monitoring.snapshot.states import Level

SERVICES = "/api/hiecm/gateway/v3/bridge-services"
URL = "/api/hiecm/gateway/v3/bridge/url"
SKEW_S = 120.0  # of the clocks, from which on it is a fault
SET_URL = Phrase("labrelay abdm preflight --set-url")
ASK_NHA = Phrase("ask NHA's support to mend it")
OF_ACCOUNT = frozenset(
    {"url-missing", "url-other", "bridge-inactive", "bridge-blocked", "facility-missing", "facility-inactive"}
)
HIDES: Mapping[str, frozenset[str]] = {
    "gateway-down": OF_ACCOUNT | {"bridge-unreadable", "session-refused", "clock-off"},
    "session-refused": OF_ACCOUNT | {"bridge-unreadable"},
    "clock-off": OF_ACCOUNT | {"bridge-unreadable", "session-refused"},
    "bridge-unreadable": OF_ACCOUNT,
}
"""With a fault, others are not looked at: where they are not found, that says nothing."""


class Caller(Protocol):
    """The gateway, as `engine.features.abdm.client.gateway` has it."""

    @property
    def ahead_s(self) -> float: ...

    async def call(self, method: str, path: str, body: Any, *, request_id: str) -> GatewayAnswer: ...


async def at_gateway(name: str, ours: AbdmDestination, *, name_url: bool = False) -> list[AbdmFault]:
    """All faults, by a session of our own. Never fails; the secret is set.

    Args:
        name: of the destination.
        name_url: name our URL first (`set_url`); where that is refused, it is the one fault.
    """
    client = registry.load(ABDM, "gateway")
    gateway = client.build(name, ours, SystemClock())
    await gateway.start()
    try:
        refused = await set_url(ours, gateway) if name_url else None
        if refused is not None:
            return [refused]
        return await examine(ours, gateway, client.fault_of)
    finally:
        await gateway.close()


async def examine(ours: AbdmDestination, gateway: Caller, fault_of: Callable[[str], Awaitable[str]]) -> list[AbdmFault]:
    """All faults. Never fails.

    Args:
        gateway: one that was started.
        fault_of: why our health path does not answer at a URL; empty: it does.
    """
    answer = await gateway.call("GET", SERVICES, None, request_id=str(uuid4()))
    found = list(clocks(gateway.ahead_s))
    if answer.is_taken:
        found += bridge(ours, answer.body)
    elif not (found and answer.verdict is Verdict.LOG_IN):  # it refuses calls of a clock that is off
        found.append(_refused(answer))
    if ours.is_open:
        text = Phrase(
            "any address may send callbacks, and a token of the gateway that another party has seen proves them"
        )
        remedy = Phrase("name the addresses of the gateway in {key}", {"key": "callbacks.allow"})
        found.append(AbdmFault(code="callbacks-open", text=text, remedy=remedy, level=Level.ATTENTION))
    if ours.environment == "abdm" and not ours.callbacks.one_request_per_token:
        text = Phrase("a token of the gateway proves callbacks of any REQUEST-ID")
        key = "callbacks.one_request_per_token: true"
        remedy = Phrase("if NHA says that each callback has a token of its own, set {key}", {"key": key})
        found.append(AbdmFault(code="token-reuse", text=text, remedy=remedy, level=Level.ATTENTION))
    url = ours.callbacks.url.rstrip("/") + HEALTH
    if why := await fault_of(url):
        text = Phrase("callbacks cannot come in: {url}: {why}", {"url": url, "why": why})
        remedy = Phrase("start LabRelay, and look at the name, the relay and the firewall before it")
        found.append(AbdmFault(code="callbacks-closed", text=text, remedy=remedy))
    return found


def clocks(ahead_s: float) -> Iterator[AbdmFault]:
    if abs(ahead_s) > SKEW_S:
        said: dict[str, Any] = {"n": round(abs(ahead_s) / 60)}
        text = Phrase("this machine's clock is {n} min ahead of the gateway's", said)
        if ahead_s > 0:
            text = Phrase("this machine's clock is {n} min behind the gateway's", said)
        yield AbdmFault(code="clock-off", text=text, remedy=Phrase("set the clock by a time server: timedatectl"))


def _refused(answer: GatewayAnswer) -> AbdmFault:
    if answer.verdict is Verdict.LOG_IN:
        text = Phrase("the gateway refuses our log-in (HTTP {status})", {"status": answer.status})
        remedy = Phrase("correct client_id, client_secret or environment")
        return AbdmFault(code="session-refused", text=text, remedy=remedy)
    why = answer.cause or f"HTTP {answer.status} {answer.code}".rstrip()
    text = Phrase("the gateway does not answer: {why}", {"why": why})
    remedy = Phrase("look at the network, then try again")
    return AbdmFault(code="gateway-down", text=text, remedy=remedy, level=Level.ATTENTION)


def bridge(ours: AbdmDestination, body: bytes) -> Iterator[AbdmFault]:
    """The faults in the gateway's answer on our account and its services."""
    try:
        said = json.loads(body)
        account, services = said["bridge"], said["services"] or []
        url, active, blocked = account.get("url") or "", account.get("active"), account.get("blocklisted")
        hips = {one["id"]: one.get("active") for one in services if "HIP" in (one.get("types") or ())}
    except (ValueError, TypeError, KeyError, AttributeError):
        text = Phrase("the gateway's answer on our account cannot be read")
        yield AbdmFault(code="bridge-unreadable", text=text, remedy=ASK_NHA, level=Level.ATTENTION)
        return
    if not isinstance(url, str) or not url:
        text = Phrase("the gateway knows no URL for our callbacks")
        yield AbdmFault(code="url-missing", text=text, remedy=SET_URL)
    elif url.rstrip("/") != ours.callbacks.url.rstrip("/"):
        text = Phrase("the gateway sends our callbacks to another URL than {url}", {"url": ours.callbacks.url})
        remedy = Phrase("end the other system that uses this client_id, then: {command}", {"command": SET_URL})
        yield AbdmFault(code="url-other", text=text, remedy=remedy)
    if active is False:
        text = Phrase("our account at the gateway is not active")
        yield AbdmFault(code="bridge-inactive", text=text, remedy=ASK_NHA)
    if blocked is True:
        text = Phrase("our account at the gateway is blocked")
        yield AbdmFault(code="bridge-blocked", text=text, remedy=ASK_NHA)
    for facility in ours.facilities:
        if facility not in hips:
            text = Phrase("the account has no HIP service for it")
            remedy = Phrase("link the facility with the software in the Health Facility Registry")
            yield AbdmFault(code="facility-missing", text=text, remedy=remedy, facility=facility)
        elif hips[facility] is False:
            text = Phrase("its HIP service is not active")
            yield AbdmFault(code="facility-inactive", text=text, remedy=ASK_NHA, facility=facility)


async def set_url(ours: AbdmDestination, gateway: Caller) -> AbdmFault | None:
    """Name our URL to the gateway; it takes callbacks from any other system of the account. None: done."""
    answer = await gateway.call("PATCH", URL, {"url": ours.callbacks.url}, request_id=str(uuid4()))
    if answer.is_taken or answer.verdict is Verdict.LOG_IN or answer.cause:
        return None if answer.is_taken else _refused(answer)
    why = f"HTTP {answer.status} {answer.code}".rstrip()
    text = Phrase("the gateway refuses {url}: {why}", {"url": ours.callbacks.url, "why": why})
    return AbdmFault(code="url-refused", text=text, remedy=Phrase("correct callbacks.url"))


SUBJECT = "ABDM"


async def lines(site: Site) -> list[Line]:
    """One line for each fault, and for each thing that is in order; nothing where the site is not in the network."""
    named = found_in(site.config.destinations)
    if named is None:
        return []
    name, ours = named
    lacks = list(lacking(name, ours, site.channels))
    if not ours.client_secret.is_set:
        text = f"{ours.client_secret} is not set in this shell: the gateway is not asked"
        return [*lacks, Line(Health.WARN, SUBJECT, text, "labrelay abdm preflight, where it is set")]
    return [*lacks, *of_gateway(ours, await at_gateway(name, ours))]


def lacking(name: str, ours: AbdmDestination, channels: Mapping[str, ChannelConfig]) -> Iterator[Line]:
    """What the site's files lack.

    Args:
        name: of the destination.
    """
    bring = [
        channel
        for channel, one in channels.items()
        if one.enabled and any(name in (route.to or ()) for route in one.routes)
    ]
    served = {ours.facility_of(channel) for channel in bring}
    for facility in ours.facilities:
        if facility not in served:
            advice = f"a route with `mapping: abdm-report` and `to: {name}` in a channel of this laboratory"
            yield Line(Health.WARN, SUBJECT, f"{facility}: no channel brings its reports", advice)
    if ours.sms is None:
        text = "no SMS service: patients who search for their reports from their app find none"
        yield Line(Health.WARN, SUBJECT, text, f"`sms:` of the destination {name} (docs/abdm.md)")


def of_gateway(ours: AbdmDestination, faults: list[AbdmFault]) -> Iterator[Line]:
    """The faults of the preflight, and the laboratories that have none."""
    for one in faults:
        health = Health.FAIL if one.level is Level.PROBLEM else Health.WARN
        yield Line(health, SUBJECT, f"{one.facility}{': ' * bool(one.facility)}{one.text}", str(one.remedy))
    if any(one.code in HIDES for one in faults):
        return  # of the laboratories nothing is known
    named = {one.facility for one in faults}
    for facility in ours.facilities:
        if facility not in named:
            yield Line(Health.OK, SUBJECT, f"{facility}: the gateway has its HIP service")
    if "" not in named:
        yield Line(Health.OK, SUBJECT, "the gateway takes our calls, and callbacks can come in")
