"""What passes between LabRelay's parts about ABDM, India's network of health records: states, calls and their answers.

The states are those of the rows in the journal (``abdm_*``). None of these values shows a patient in its text.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

CONSENT_NOTICE = "/v3/consent/request/hip/notify"
"""Path of the callback with the state of a consent: it may be a revocation."""

BLOCK_S = 86_400.0
"""How long the network blocks a patient of whom it was asked wrongly three times."""


class CallState(StrEnum):
    """Of a call to the gateway."""

    WAITING = "waiting"  # to be made, at its time
    SENDING = "sending"  # under way, or a crash hides whether it arrived
    ACCEPTED = "accepted"  # the gateway has it; its result comes by a callback
    DONE = "done"
    FAILED = "failed"


LASTING = frozenset({"data-notify", "consent-on-notify", "status-on-notify"})
"""Calls that are still of use when they have failed: a person may have one made once more."""


class CallbackState(StrEnum):
    """Of a callback."""

    STORED = "stored"  # answered, and nothing done about it yet
    FOLDED = "folded"
    REFUSED = "refused"  # nothing will be done about it


class PatientState(StrEnum):
    """Of a patient as the network knows him."""

    KNOWN = "known"
    LEAVING = "leaving"  # a notice says that he has left, and the gateway has not taken our answer
    DROPPED = "dropped"  # deactivated, opted out or erased: no address is left


class TokenState(StrEnum):
    """Of a link token."""

    ASKED = "asked"
    HELD = "held"
    BLOCKED = "blocked"  # the gateway refuses to give one, until a time


class ContextState(StrEnum):
    """Of a care context."""

    WAITING = "waiting"  # no patient of the network is known for it
    READY = "ready"  # to be linked
    LINKING = "linking"  # a call that links it is under way
    LINKED = "linked"
    FAILED = "failed"  # a person has to look
    DROPPED = "dropped"  # the patient has left the network; the report stays in the laboratory


class TransferState(StrEnum):
    """Of a request for records."""

    STORED = "stored"
    ACKNOWLEDGED = "acknowledged"  # on-request is queued; pages are to be made
    PUSHING = "pushing"  # all pages are sealed here
    ENDED = "ended"  # the report of it is queued
    REFUSED = "refused"


class PageState(StrEnum):
    """Of an encrypted page."""

    SEALED = "sealed"  # to be sent
    DELIVERED = "delivered"
    FAILED = "failed"


class Verdict(StrEnum):
    """What an answer, or the error in a callback, means for the call."""

    TAKEN = "taken"
    AGAIN = "again"  # later, with back-off
    SLOW = "slow"  # later, and much less often
    LOG_IN = "log-in"  # our session has ended, or our account is refused
    SETTINGS = "settings"  # of ours, which a person corrects
    STOP = "stop"  # not before a day has passed
    BEFORE = "before"  # it was done before
    FINAL = "final"  # trying again would not help


@dataclass(frozen=True, slots=True)
class GatewayAnswer:
    """The answer to a call, or what a callback says of it.

    Attributes:
        status: of HTTP; 0: there was none.
        code: of the gateway, as ``ABDM-1027``; empty: none.
        words: the gateway's own. They may name the patient: sealed in the journal, in no log.
        cause: why there was no answer, in the system's words.
        retry_after_s: seconds that it asked us to wait.
    """

    status: int
    verdict: Verdict
    code: str = ""
    words: str = field(default="", repr=False)
    cause: str = ""
    retry_after_s: float = 0.0
    body: bytes = field(default=b"", repr=False)

    @property
    def is_taken(self) -> bool:
        return self.verdict is Verdict.TAKEN


@dataclass(frozen=True, slots=True)
class Call:
    """A call to the gateway, as the journal has it.

    Attributes:
        subject: number of the patient, context, consent, transfer or callback that it is about.
        attempt: how many were made, with the one under way.
        body: as JSON.
        about: more that its result needs; numbers of rows, no names.
        is_heard: an answer to an attempt is noted, or that there was none.
    """

    number: int
    facility: str
    name: str
    subject: int
    state: CallState
    attempt: int
    made_us: int
    ends_us: int
    body: Any = field(repr=False)
    about: Mapping[str, Any] = field(default_factory=dict)
    is_heard: bool = False

    @property
    def is_cut(self) -> bool:
        """Earlier attempts were made, and each ended with the process: no answer to one is noted."""
        return self.attempt > 1 and not self.is_heard

    def was_taken(self, answer: GatewayAnswer) -> bool:
        """Whether the gateway has taken this attempt, or one before: it says so of no first one that is true."""
        return answer.is_taken or (answer.verdict is Verdict.BEFORE and self.attempt > 1)


@dataclass(frozen=True, slots=True)
class Attempt:
    """A call that goes out now: its REQUEST-ID is in the journal. ``headers``: those that it has beside the usual."""

    call: Call
    request_id: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Callback:
    """A callback, as the journal has it.

    Attributes:
        path: without ``/api``.
        request_id: by which its answer names it.
        body: a JSON object; empty of one that is refused.
        raw: the bytes as they came; empty where the journal's cannot be read.
        age_s: seconds that had passed when it came since it was made, as it says itself.
        is_signed: a grant whose signature was proven; false where the configuration does not want that.
    """

    number: int
    path: str
    facility: str
    request_id: str
    received_us: int
    body: Mapping[str, Any] = field(repr=False)
    raw: bytes = field(default=b"", repr=False)
    age_s: int = 0
    is_signed: bool = False

    @property
    def made_us(self) -> int:
        """When it was made by our clock, and not later than it came."""
        return self.received_us - self.age_s * 1_000_000
