"""The one hierarchy of errors. The class says who must act, the attributes say how.

No other module of the engine defines an error, but one that never leaves it, and the tools for developers
(`workbench.errors`). ``exit_code``: how a command ends that is left with the error (`labrelay help exit-codes`).

A message names the place and the value wanted, and never carries patient data: it goes to logs and pages.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from engine.model.texts.phrases import R_
from engine.model.texts.reasons import ReasonCode

NOT_PROVEN = R_("the identity provider's answer cannot be used; log in again")


class LabRelayError(Exception):
    """Base of all errors that LabRelay raises on purpose."""

    exit_code: ClassVar[int] = 1


class ConfigError(LabRelayError):
    """A person's YAML, CSV or command line is wrong.

    Attributes:
        problems: one line each, ``file:line:column: what is wrong; what to do``.
    """

    exit_code = 3

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class KeyAbsentError(ConfigError):
    """This process does not have the key of the journal."""


class LimitsError(LabRelayError):
    """A table of limits cannot be used.

    Attributes:
        problems: each text begins with the place or the file's name.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class ExpressionError(LabRelayError):
    """The text is no expression; the message says what is wrong and what to do.

    Attributes:
        at: the offset of the character that is the reason.
    """

    def __init__(self, at: int, text: str) -> None:
        super().__init__(text)
        self.at = at


class PatternError(ExpressionError):
    """The text is no regular expression that a mapping may use."""


class TooLargeError(LabRelayError):
    """The mapping would need more code than it may."""


class Dropped(LabRelayError):  # noqa: N818  (no error: a declared outcome)
    """A result whose code is not in a table that says ``on_missing: drop``."""


class LeftOutError(LabRelayError):
    """An action leaves a message as it is.

    Attributes:
        outcome: what it is counted as: ``damaged``, ``erased``, ``no_channel``.
    """

    def __init__(self, outcome: str) -> None:
        super().__init__(outcome)
        self.outcome = outcome


class UnreadableResultsError(LabRelayError, ValueError):
    """The document is no FHIR Bundle, or its results cannot be read."""


class TooManyAlikeError(LabRelayError, ValueError):
    """A message has so many results of one test and order that comparing them would take seconds."""


class UnknownFormatError(LabRelayError):
    """The bytes are neither HL7 v2 nor E1394: the places of patient data in them are unknown."""


class EditedTextError(LabRelayError):
    """The text cannot be converted to bytes; the error names place and reason, and quotes at most one character."""


class ContentError(LabRelayError):
    """A message that cannot be processed: it becomes a dead letter with this reason.

    Attributes:
        reason: why, for the page and for `dlq --code`.
        place: the field or record concerned (``OBX[3]-5``), or empty.
        detail: what was wrong there, without patient data.
    """

    def __init__(self, reason: ReasonCode, detail: str = "", *, place: str = "") -> None:
        super().__init__(f"{reason.value}{f' at {place}' if place else ''}{f': {detail}' if detail else ''}")
        self.reason = reason
        self.place = place
        self.detail = detail


class ProtocolError(LabRelayError):
    """The peer broke its protocol in a way that costs the connection."""


class FideliusError(LabRelayError):
    """Keys or a page of ABDM's encryption cannot be used.

    Attributes:
        fault: the cause, one of `engine.features.abdm.wire.fidelius.Fault`.
    """

    def __init__(self, fault: str, text: str) -> None:
        super().__init__(text)
        self.fault = fault


class StoreError(LabRelayError):
    """The journal could not keep something: nothing may be acknowledged.

    Attributes:
        fatal: a sync failed or the file is damaged. The process must stop at once and never retry in place.
    """

    def __init__(self, message: str, *, fatal: bool = False) -> None:
        super().__init__(message)
        self.fatal = fatal


class AbsentError(StoreError):
    """There is no such row, and none is missing: the number was never given, or its row was let go on purpose."""


class NoRoomError(StoreError):
    """Not tried, since the disk is full: the remaining room is for operations without payload."""


class BacklogError(StoreError):
    """Too much of the channel waits to be mapped: nothing more is taken of it (`engine.receiving.admission`)."""


class JobStoppedError(LabRelayError):
    """The writer has to stop during a job: the job ends at once."""


class ReconfiguredError(StoreError):
    """The configuration changed between mapping and storing. Nothing was stored; the message must be mapped again."""


class TooSlowError(StoreError):
    """A query took longer than it may: the person who asked must narrow it."""


class DamagedError(StoreError):
    """Not a row but the journal's file itself is damaged: trying again does not help.

    Attributes:
        what: the failed action, and SQLite's words.
        advice: the commands that help, for people.
    """

    exit_code = 6

    def __init__(self, what: str, advice: str, *, fatal: bool = False) -> None:
        super().__init__(f"{what}; {advice}", fatal=fatal)
        self.what = what
        self.advice = advice


class IntegrityError(StoreError):
    """The journal is not what it was: a row, the chain, the numbering or the anchor disagrees."""

    exit_code = 6


class OvertakenError(StoreError):
    """The journal went on on another machine: this one writes no copies."""


class HeldBackError(StoreError):
    """A delivery is not sent: others may have sent newer results, and a person decides."""


class LossError(IntegrityError):
    """The anchor proves that rows are missing, or that it belongs to another journal.

    Attributes:
        first, last: the missing row numbers; 0 and 0 where they are unknown.
    """

    def __init__(self, message: str, first: int = 0, last: int = 0) -> None:
        super().__init__(message)
        self.first = first
        self.last = last


class OtherHistoryError(IntegrityError):
    """The journal's rows are intact and linked to each other, but do not continue the backup: some of its rows were
    lost, or the journal was created anew.
    """


class NotComparedError(IntegrityError):
    """The earlier accepted results cannot be compared.

    Attributes:
        message_id: the message of the unreadable document; 0 where the failure is not about one message.
    """

    def __init__(self, words: str, message_id: int = 0) -> None:
        super().__init__(words)
        self.message_id = message_id


class ErasedError(IntegrityError):
    """The content is gone because it was erased on a patient's demand; nothing is wrong with the journal."""

    exit_code = 1


class LockedError(LabRelayError):
    """Another process holds this site's data folder."""

    exit_code = 4


class UnreachableError(LabRelayError):
    """No daemon answers on this site's socket."""

    exit_code = 4


class RefusedError(LabRelayError):
    """Not allowed: missing rights, or a confirmation that was not given."""

    exit_code = 7


class LogInError(LabRelayError):
    """The log-in is refused. One text for an unknown user, a wrong password and a wrong code: none is named."""

    exit_code = 7


class LockedOutError(LogInError):
    """Too many refused log-ins: this one was not looked at.

    Attributes:
        until_us: when the next one will be.
    """

    def __init__(self, text: str, until_us: int) -> None:
        super().__init__(text)
        self.until_us = until_us


class IdentityProviderError(LogInError):
    """The identity provider does not prove who is there.

    Attributes:
        reason: for the log, some words of ours.
    """

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(text)
        self.reason = reason


class UnknownKeyError(IdentityProviderError):
    """A token is signed by a key that we do not have: the provider may have others by now."""


class CallbackError(LabRelayError):
    """A callback does not prove that ABDM's gateway sent it to a facility of ours.

    Attributes:
        reason: for the log, some words of ours.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"the callback is refused: {reason}")
        self.reason = reason


class UnknownGatewayKeyError(CallbackError):
    """A callback is signed by a key that we do not have: the gateway may have others by now."""


class CallbackBodyError(LabRelayError):
    """A callback of the gateway cannot be used; nothing is done about it.

    Attributes:
        reason: a short constant, for people.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"the callback cannot be used: {reason}")
        self.reason = reason


class GatewayDownError(LabRelayError):
    """ABDM's gateway does not answer, or refuses us; ``args`` say why, without a word of its own."""


class ProblemError(LabRelayError):
    """A request to the API cannot be served.

    Attributes:
        kind: one of `engine.web.api.problems.KINDS`, which has its status.
        errors: for each wrong field its place (a JSON pointer, or the name of a parameter) and what is wrong there.
        retry_after: seconds after which the same request may be served; 0: it will not help.
    """

    def __init__(
        self, kind: str, detail: str = "", *, errors: Sequence[Mapping[str, str]] = (), retry_after: float = 0.0
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.errors = errors
        self.retry_after = retry_after


class BusyError(LockedOutError):
    """Too many log in at this moment."""


class CutShortError(LabRelayError):
    """An act was begun under the same key, and a stop of the daemon or of its store left it without an answer."""


class OccupiedError(LabRelayError):
    """Too many wait for the same work; in a few seconds it can be asked for again."""


class ElsewhereError(ConnectionResetError):
    """This process has no part of the daemon that a page asks for: the daemon draws it. No handler answers it."""


class LargeProcessError(LabRelayError):
    """The process for large messages ended, hangs, or cannot take the configuration; its supervisor starts another."""


class DeliveryError(LabRelayError):
    """A destination did not take a document.

    Attributes:
        reason: the cause, stored with the attempt.
        detail: for the person who looks, without patient data.
        answer: the destination's own words (an OperationOutcome); sealed in the journal, never logged.
        away: why it cannot be reached (`engine.delivery.settlement`); empty where that is not known.
    """

    def __init__(self, reason: ReasonCode, detail: str = "", *, answer: bytes = b"") -> None:
        super().__init__(f"{reason.value}{f': {detail}' if detail else ''}")
        self.reason = reason
        self.detail = detail
        self.answer = answer
        self.away = ""


class TransientDeliveryError(DeliveryError):
    """Worth trying again.

    Attributes:
        retry_after: seconds that the destination asked us to wait, if it did.
        limit: after this many attempts in a row for this reason the delivery is dead (409: five), else None.
    """

    def __init__(
        self,
        reason: ReasonCode,
        detail: str = "",
        *,
        retry_after: float | None = None,
        limit: int | None = None,
        answer: bytes = b"",
    ) -> None:
        super().__init__(reason, detail, answer=answer)
        self.retry_after = retry_after
        self.limit = limit


class DestinationDownError(TransientDeliveryError):
    """The destination as a whole is at fault (log-in, address, a proxy's page): its breaker opens at once."""


class PushRefusedError(LabRelayError):
    """An address that another party named is none to which a patient's records may go.

    Attributes:
        reason: why, without the address.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"the push is refused: {reason}")
        self.reason = reason


class RefusedDeliveryError(DeliveryError):
    """The document itself was refused: dead, trying again would not help."""
