"""The one hierarchy of errors. The class says who must act, the attributes say how.

A message names the place and the value wanted, and never carries patient data: it goes to logs and pages.
"""

from engine.model.reasons import ReasonCode


class LabRelayError(Exception):
    """Base of all errors that LabRelay raises on purpose."""


class ConfigError(LabRelayError):
    """A person's YAML, CSV or command line is wrong.

    Attributes:
        problems: one line each, ``file:line:column: what is wrong; what to do``.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


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


class StoreError(LabRelayError):
    """The journal could not keep something: nothing may be acknowledged.

    Attributes:
        fatal: a sync failed or the file is damaged. The process must stop at once and never retry in place.
    """

    def __init__(self, message: str, *, fatal: bool = False) -> None:
        super().__init__(message)
        self.fatal = fatal


class DamagedError(StoreError):
    """Not a row but the journal's file itself is damaged: trying again does not help. Exit code 6.

    Attributes:
        what: what could not be done, and SQLite's words.
        advice: the commands that help, for people.
    """

    def __init__(self, what: str, advice: str, *, fatal: bool = False) -> None:
        super().__init__(f"{what}; {advice}", fatal=fatal)
        self.what = what
        self.advice = advice


class IntegrityError(StoreError):
    """The journal is not what it was: a row, the chain, the numbering or the anchor disagrees."""


class ErasedError(IntegrityError):
    """The content is gone because it was erased on a patient's demand; nothing is wrong with the journal."""


class LockedError(LabRelayError):
    """Another process holds this site's data folder. Exit code 4."""


class WorkerError(LabRelayError):
    """The worker process ended, hangs, or cannot take the configuration; its supervisor starts another one."""


class DeliveryError(LabRelayError):
    """A destination did not take a document.

    Attributes:
        reason: the cause, stored with the attempt.
        detail: for the person who looks, without patient data.
        answer: the destination's own words (an OperationOutcome); sealed in the journal, never logged.
    """

    def __init__(self, reason: ReasonCode, detail: str = "", *, answer: bytes = b"") -> None:
        super().__init__(f"{reason.value}{f': {detail}' if detail else ''}")
        self.reason = reason
        self.detail = detail
        self.answer = answer


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


class RefusedDeliveryError(DeliveryError):
    """The document itself was refused: dead, trying again would not help."""
