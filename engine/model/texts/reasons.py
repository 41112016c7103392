"""Reasons for the state of a message or a delivery: one code, one sentence for the person who has to act.

A reason is written into the journal, shown on the page, counted in metrics and matched by `labrelay dlq --code`.
Codes are never renamed or reused: rows of past years carry them. `labrelay help reasons` shows them.
"""

from collections.abc import Callable
from enum import Enum


class ReasonCode(Enum):
    """A reason code. ``value``, as stored, is its name; ``help``, its text, says what happened and what to do."""

    def __init__(self, help_text: str) -> None:
        self.help = help_text
        self._value_ = self.name

    def __reduce_ex__(self, _protocol: object) -> tuple[Callable[..., object], tuple[object, str]]:
        return getattr, (ReasonCode, self.name)

    # -- dead: the content -------------------------------------------------------------------------------------
    UNREADABLE = (
        "The bytes are not of the channel's format (HL7 v2, ASTM E1394, JSON), or their header cannot be read. Look at "
        "the raw bytes; if another device is on this port, give it its own channel."
    )
    UNKNOWN_CHARSET = (
        "The declared character set is unknown, or the bytes do not decode with it. The declaration of a message "
        "(MSH-18) is never overruled: set the analyzer right, and correct MSH-18 with `labrelay dlq edit`. `charset:` "
        "of the channel is for messages that declare none."
    )
    NO_ROUTE = (
        "No route of the channel takes this kind of message. Add a route with the mapping that its detail names, or a "
        "route with `filter:` that says it is not wanted."
    )
    ACCOUNTS = (
        "A message of accounts (BAR, DFT): charges and bills are no part of a laboratory's record, and nothing is made "
        "of them. Stop them at the sender, or add a route with `filter:` that says they are not wanted."
    )
    TOO_LARGE = (
        "The message is larger than the channel allows, or has more parts than any message has; the "
        "detail says which. Over `max_message` the first 64 KiB and a hash are kept, never as a result. If the sender "
        "may send such a message, raise the limit and have it sent again."
    )
    INCOMPLETE = (
        "The sender stopped before the end of the message. The part received is kept as evidence and is never a "
        "result; ask the analyzer to send it again."
    )
    SENDER_ABORTED = (
        "The sender marked the message as aborted or in error (ASTM L record T, R or E). Ask the analyzer to send "
        "it again."
    )
    NO_RESULTS = (
        "A message of results (ORU, OUL) has no order and no result in it, or an ASTM message is its header alone: its "
        "line ends may be lost, so that all of it is one segment. Look at the raw bytes, set the sender or the line "
        "right, and have it sent again; where such a message is usual, add a route with `filter:` before the others."
    )
    # -- dead: the mapping -------------------------------------------------------------------------------------
    UNMAPPED_CODE = (
        "A code is not in the code table, and the mapping passes no such message. Its key is `on_missing: dead`. "
        "`labrelay gaps` prints the missing rows; add them, then retry."
    )
    UNMAPPED_UNIT = (
        "The code is in the table, but not with this unit; another row's factor is never applied. Add a row for the "
        "unit, then retry."
    )
    UNMAPPED_STATUS = (
        "A result or report status has no counterpart in FHIR. Check the sender's manual and extend the mapping."
    )
    BAD_STATUS = "The report's status says there is an error, or no order for it, at the sender."
    NO_VALUE = "A status change came without its value; sending it would erase the value that the server has."
    BAD_VALUE = "A value cannot be converted and the mapping says that such a message must not pass."
    UNREAD_SEGMENT = (
        "The message has a segment that no rule reads, and the mapping is strict. Extend the mapping or relax it."
    )
    REQUIRED_ABSENT = (
        "An element that FHIR requires has no value in this message. Give the mapping another source or a default."
    )
    NO_PATIENT = (
        "The message names no patient, and the channel takes none without one; or a mapping to HL7 v2 writes no PID "
        "for one patient behind another's, whose results these would seem to be: give each a PID, then retry. The "
        "channel's key is `no_patient: dead`."
    )
    NO_SPECIMEN = (
        "No field that the mapping reads holds the number of the specimen, and the channel takes no message without "
        "it. Its key is `no_specimen: dead`."
    )
    NO_IDENTITY = (
        "A resource's key is absent (no order, specimen or patient number), so it cannot be distinguished from another."
    )
    SAME_CODE = "Test ids (R-3) that differ have one code."
    NOT_PRODUCTION = "The sender marked the message as training or debugging; it must not reach a production system."
    COUNT_MISMATCH = (
        "The mapping produced fewer observations than the message has results, without saying which it dropped. "
        "This is a fault of the mapping."
    )
    MAPPING_FAULT = (
        "The mapping failed inside LabRelay. The rule is named in the detail; please report it. The message is safe."
    )
    NOT_WRITTEN = (
        "LabRelay failed to write a message for a laboratory system that reports what became of its orders. The number "
        "of this message names the order (`W17.2`), or the message that was to be answered (`A4711`). Tell the "
        "laboratory system by other means, dismiss this letter, and please report it: a retry does not write it again."
    )
    IDENTITY_CONFLICT = (
        "One number is used for two persons, by name, birth date or sex: the result waits until a person has compared "
        "both messages. `labrelay held answer MESSAGE same` or `other` says whose it is. Or the same order or "
        "specimen number was used for another patient on the same day: a dead letter, to be retried or dismissed; "
        "where numbers are unique, retrying does not help: correct it at the analyzer and send again."
    )
    # -- dead: the destination ---------------------------------------------------------------------------------
    REFUSED = (
        "The destination refused this document; trying again would not help. Its answer is kept with the delivery."
    )
    REFUSED_LATE = (
        "The receiver accepted this message, and refused it afterwards. Its answer is kept with the delivery; look "
        "at its copy of the message there."
    )
    AMBIGUOUS_ON_SERVER = "Several resources on the server match one identifier (412). Merge them there, then retry."
    DAMAGED = (
        "The stored bytes are not those that were written (a fault of the disk). `labrelay verify` names the rows; ask "
        "the analyzer to send the message again."
    )
    DECIDED_IN_PART = (
        "The journal was restored, and a person had dismissed or rejected part of what was made of this message; of "
        "the rest it is not known whether it was delivered. `labrelay dlq retry` makes and sends all of it."
    )
    GAVE_UP = (
        "The destination did not take the document in the time that it was given. The destination's key is "
        "`give_up_after`."
    )
    SET_ASIDE = (
        "A named person has set this delivery aside, so that those behind it go out. The destination may not have it: "
        "`labrelay dlq retry` sends it after all, `labrelay dlq dismiss` says that it is not needed."
    )
    CORRECTION_SET_ASIDE = (
        "A named person has set this delivery aside, and it is a correction or a withdrawal (or this is not known): "
        "the destination still shows the result that it was to replace. The page says so until it was sent (`labrelay "
        "dlq retry`) or a person has mended the destination and dismissed it."
    )
    NO_DESTINATION = "The destination of this delivery is no longer configured. Configure it again, or dismiss."
    # -- waiting: why the last attempt failed ------------------------------------------------------------------
    NO_ANSWER = "The destination did not answer, or the connection failed."
    BUSY = "The destination asked to try later (408, 425, 429, 5xx)."
    CONFLICT = (
        "The server has another version of a resource than the one that we wrote last, or reports a conflict with "
        "another write (409). It is compared for `conflicts: check`. `labrelay dlq show` has both versions: `dlq retry "
        "--overwrite --reason` writes ours, `dlq dismiss` leaves theirs."
    )
    NOT_FHIR = "The answer was not a FHIR transaction response: a proxy or a log-in page may be in between."
    NOT_AUTHORIZED = (
        "The destination refused our credentials (401, 403). Check `auth:`; the detail says whether it was the server "
        "that gives tokens."
    )
    NO_TOKEN = (
        "The server that gives tokens for this destination is down, slow, or gave none. Documents wait, and go out "  # noqa: S105
        "once it gives one (`auth: {oauth2: ...}`)."
    )
    WRONG_ADDRESS = "The destination's base address does not exist there (404, 405). Check `url:`."
    NO_SUBSCRIBER = (
        "The broker has no subscriber for the topic, so it would throw the document away. Start the receiver, or "
        "check `topic:`; where no subscriber is needed, say `no_subscriber: deliver`."
    )
    NEGATIVE_ACK = "The receiver answered with AE or CE."
    WRONG_ACK = "The answer belongs to another message, or is none. It was not credited; the connection was closed."
    MAYBE_DELIVERED = (
        "LabRelay stopped between sending and noting the answer. It is sent again with the same delivery key."
    )
    STORAGE = "The destination's folder cannot be written (full, read-only, missing)."
    # -- filtered, held, closed --------------------------------------------------------------------------------
    REPEAT = "The same bytes came before; they were acknowledged again and not delivered again."
    ECHO = (
        "Each of its results was accepted before, unchanged: the analyzer has sent its memory again. Nothing is sent."
    )
    FILTERED = "A route's rule says that this message is not wanted."
    QUALITY_CONTROL = "A control or calibration, not a patient's result; no destination for controls is configured."
    OVERHEARD = (
        "A tee heard it pass and it is no result: an order, a query, or an answer to one. It is kept for the record."
    )
    DRAFT = (
        "It came while its analyzer was being added: it is kept, and nothing was made of it. Once the analyzer sends "
        "to a destination, `labrelay reprocess --channel NAME` maps and sends it."
    )
    QUESTION = (
        "An analyzer asks for its orders. It was answered from the worklist, or not; `labrelay orders log` says how."
    )
    ORDERS = (
        "Orders of a laboratory system. They are on the worklist, or were rejected; the answer said so for each, and "
        "`labrelay orders list` shows them."
    )
    ORDER_ANSWER = "An analyzer says that it has taken, or refused, orders that it was sent; their items show it."
    SUPERSEDED = "A newer result for the same report was delivered; sending this one would undo it."
    HELD_BY_RULE = (
        "A rule of the route keeps this result back. Look at it, then `labrelay held release` or "
        "`labrelay held reject`."
    )
    HOLD_UNDECIDED = (
        "A rule of the route could not be decided, since a value that it needs is not known; the detail "
        "names it. The result is held until a person has looked at it."
    )
    HOLD_FAULT = (
        "A rule of the route failed inside LabRelay, so the result is held. The rule is named in the "
        "detail; please report it."
    )
    CONTROL_FAILED = (
        "The control of this test failed on this analyzer. `labrelay quality list` has it: repeat it, close the failed "
        "run, then look at this result: `labrelay held release`, or `labrelay held reject`."
    )
    CONTROL_NUMBER = (
        "The number of the specimen is that of a control, and the message or an open order says that it is a "
        "patient's. Look whose it is, then `labrelay held release`, or `labrelay held reject`. Of a dead letter cancel "
        "the order, or correct `control_numbers`, then `labrelay dlq retry`."
    )
    STATUS_BACK = (
        "A result of a lower status than the one that was accepted (preliminary after final, final after corrected), "
        "or one that its sender calls sent before (ASTM R-9 is R) and that differs, or an earlier one that is issued "
        "again. Look at both, then `labrelay held reject`, or `labrelay held release` where this one is right."
    )
    OLDER_RESULT = (
        "A result that was measured earlier than the one that was accepted for the same test of the same order. Look "
        "at both, then `labrelay held reject`, or `labrelay held release` where this one is right."
    )
    VALUE_GONE = (
        "A result without a value (cancelled, a failed rerun) for one that has a value. Reject it where the value is "
        "still valid; release it where it is not."
    )
    WITHDRAWN_BEFORE = (
        "A result that its sender had withdrawn (OBX-11 D or W) comes again. Release it where it is right now, else "
        "reject it."
    )
    RESULTS_GONE = (
        "A report that its sender always sends whole lacks results that it had before. Look why they are gone. "
        "Release it where they are wrong: they are withdrawn with it. Else reject it, and have the whole report sent "
        "again."
    )
    REJECTED_BEFORE = (
        "A person has rejected or dismissed a message with the same bytes, or the same result. Release it where it is "
        "right now, else reject it."
    )
    CORRECTS_UNKNOWN = (
        "A correction or a withdrawal, and it is not known which result it is about: none fits, or several do. Look "
        "at the results of the order, then release it (it is then sent beside them), or reject it and correct at the "
        "analyzer."
    )
    COMPUTED_BEFORE = (
        "A result is changed, and another one that is computed from it stays as it was. Have that one sent, too, or "
        "look whether it is still right. Then release this one, or reject it."
    )
    SAMPLE_UNKNOWN = (
        "A result of a test that its order has already, and it is not known whether it is the same sample or another "
        "one. Look at both, then release it where it is right, or reject it."
    )
    POOL = (
        "The sample is a pool, or has a role that is not known: its result is no one patient's. Reject it, or release "
        "it where it is the patient's."
    )
    CLOCK = (
        "A result with a time that is after its receipt, or half a year before it: the clock of the analyzer may be "
        "wrong. Set the clock right. A release sends it without that time, and so later results of this clock; reject "
        "what is old."
    )
    ORDER_MOVED = (
        "A correction under the number of an order that another patient has: the first one's result may be a mistake. "
        "`labrelay held answer MESSAGE withdraw` withdraws that and sends this one; `both` sends this one beside it, "
        "where two patients have the number; where this one is wrong, `labrelay held reject`."
    )
    NUMBER_AGAIN = (
        "The order or specimen number was used before, and this was measured further from it than the channel allows: "
        "the number may have been given to another specimen. Its key is `reuse_after`. `labrelay held release` sends "
        "it as another specimen's, beside the first one's results; later messages under this number go there, too. "
        "Where the number is wrong, reject it."
    )
    NOT_COMPARED = (
        "The results could not be compared with those that were accepted before for the same order: the document of an "
        "earlier message cannot be read, or there are too many messages or results of the order. The detail names it; "
        "of a damaged one `labrelay verify` says more. Compare them at the analyzer, then release this one, or reject "
        "it."
    )
    CHANGE_UNSAID = (
        "A final result that changes a final one, in a list (CSV, JSON) that has no status to say so. Release it and "
        "inform the receiver, or reject it. Give the list a status (`results:` of its mapping)."
    )
    OVERTAKEN = (
        "A message that was received later had part of the same results (or it is not clear which), or has brought "
        "the same report further, and was delivered before this one: sending it would undo that, closing it would "
        "lose the others. Reject it, then have the tests sent or measured again that newer messages do not have; "
        "results accepted before are left out. Where it is the report only, a release sends it."
    )
    REJECTED = "A named person has looked at this held result and decided that it is never delivered."


def help_of(code: str) -> str:
    """The help of a stored code; empty for one that this version does not know."""
    return next((reason.help for reason in ReasonCode if reason.value == code), "")
