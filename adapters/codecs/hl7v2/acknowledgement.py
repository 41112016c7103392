"""Acknowledgements of HL7 v2 messages: which code answers, and the message that carries it. Pure.

Source: HL7 v2.5 chapter 2, 2.9 (original and enhanced mode), tables 0008, 0155, 0357.

    MSH | ^~\\& | their receiver | ... | their sender | ... | ACK^R01^ACK | ...
    MSA | AA | their MSH-10
    [ERR]

A stored message is answered AA or CA, also if it will be a dead letter: the sender has done its duty. Only unreadable
messages are rejected. No message can make this fail or break our framing: the answer is built from its MSH alone, with
control characters left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from adapters.codecs.hl7v2 import header
from adapters.codecs.hl7v2.batch import Envelope, envelope
from adapters.codecs.hl7v2.text import escape
from engine.model.errors import ContentError
from engine.model.message import Delimiters
from engine.model.texts.reasons import ReasonCode

MAX_ECHO = 1000  # characters of one field that are sent back; no name of an application is longer

TABLE_0357 = {
    100: "Segment sequence error",
    101: "Required field missing",
    102: "Data type error",
    103: "Table value not found",
    104: "Value too long",
    200: "Unsupported message type",
    201: "Unsupported event code",
    202: "Unsupported processing id",
    203: "Unsupported version id",
    204: "Unknown key identifier",
    205: "Duplicate key identifier",
    206: "Application record locked",
    207: "Application internal error",
}

_CONTROLS = dict.fromkeys(range(0x20))
_DEFAULT_VERSION = "2.5"
_ENCODING = "^~\\&"
_ABSENT = ("",)


@dataclass(frozen=True, slots=True)
class AckError:
    """An error of a message, reported to its sender.

    Attributes:
        condition: HL7 table 0357.
        location: ``MSH^1^10``: segment, its sequence, field; empty if the message as a whole is meant.
        text: for the person at the sender's side; no patient data.
        reject: AR or CR instead of AE or CE: sending the same again is of no use.
    """

    condition: int
    location: str = ""
    text: str = ""
    reject: bool = False


NOT_STORED = AckError(207, text="the message could not be stored, please send it again")

# Answers that `acknowledge` gives itself, regardless of the caller.
_UNREADABLE = {
    header.NO_MSH: AckError(100, "MSH^1", header.NO_MSH, reject=True),
    header.BAD_DELIMITERS: AckError(102, "MSH^1^2", header.BAD_DELIMITERS, reject=True),
    header.NO_CONTROL_ID: AckError(101, "MSH^1^10", header.NO_CONTROL_ID, reject=True),
    header.LONG_CONTROL_ID: AckError(104, "MSH^1^10", header.LONG_CONTROL_ID, reject=True),
}


@dataclass(frozen=True, slots=True)
class Ack:
    """The content of an acknowledgement.

    Attributes:
        code: MSA-1, table 0008, in upper case.
        control_id: MSA-2: the message that it answers.
        text: the receiver's words (MSA-3, ERR-8, ERR-7 or ERR-3); may hold anything, so never log it.
    """

    code: str
    control_id: str
    text: str = ""


def answer_code(accept: str, application: str, error: AckError | None, *, always: bool = False) -> str:
    """The code that answers at once, by MSH-15, MSH-16 and the outcome; empty where no answer is wanted.

    Args:
        accept: MSH-15, table 0155; other values count as not valued.
        application: MSH-16.
        always: answer AA, AE or AR, regardless of the sender's request (``ack_code: aa``).
    """
    accept, application = _condition(accept), _condition(application)
    letter = "A" if error is None else "R" if error.reject else "E"
    outcome = ("AL", "SU") if error is None else ("AL", "ER")
    if always or (not accept and not application):
        return "A" + letter
    if accept in outcome:
        return "C" + letter
    return "A" + letter if application in outcome else ""


def acknowledge(
    payload: bytes, *, now_text: str, control_id: str, ack_code: str = "", error: AckError | None = None
) -> bytes | None:
    """The answer to one message, or None where its sender wants none.

    Args:
        payload: the message; only its MSH is read.
        now_text: MSH-7 of the answer, with offset (``20260301101530+0530``).
        control_id: a fresh MSH-10 for the answer.
        ack_code: ``aa`` for devices that want AA regardless of their MSH-15.
        error: why the message was not accepted; None if it is stored. A message that cannot be read is rejected in
            any case, and one that is itself an acknowledgement is never answered: two systems would never stop.
    """
    msh = header.read_msh(payload)
    if _is_ack(msh):
        return None
    if msh.problem:
        error = _UNREADABLE[msh.problem]
    code = _code(msh, error, always=ack_code.lower() == "aa")
    return _message(msh, code, now_text, control_id, error) if code else None


def commit_acknowledge(payload: bytes, *, now_text: str, control_id: str) -> bytes | None:
    """The commit acknowledgement of a stored message whose application answer is a message of its own.

    None where its sender does not ask for one (MSH-15).
    """
    msh = header.read_msh(payload)
    if msh.problem or _is_ack(msh) or _condition(msh.field(15)) not in ("AL", "SU"):
        return None
    return _message(msh, "CA", now_text, control_id, None)


def application_acknowledge(
    payload: bytes, *, now_text: str, control_id: str, error: AckError | None = None
) -> bytes | None:
    """The application acknowledgement that follows a commit acknowledgement, as a message of its own.

    None unless the sender asked for both (MSH-15 and MSH-16): else `acknowledge` has said everything.
    """
    msh = header.read_msh(payload)
    if msh.problem or _is_ack(msh) or _code(msh, error)[:1] != "C":
        return None
    if _condition(msh.field(16)) not in (("AL", "SU") if error is None else ("AL", "ER")):
        return None
    letter = "A" if error is None else "R" if error.reject else "E"
    return _message(msh, "A" + letter, now_text, control_id, error, alone=True)


def acknowledge_block(
    block: bytes,
    messages: Sequence[bytes],
    *,
    now_text: str,
    control_id: str,
    ack_code: str = "",
    errors: Sequence[AckError | None] = (),
) -> bytes | None:
    """One answer for all messages of a block: a batch of answers if the block is a batch, else the worst or last one.

    A batch is answered in its own form: with a file header if it had one, and for each batch a header that names the
    batch it answers (BHS-12, FHS-12; HL7 v2.5 chapter 2, 2.10.3.3), and a batch whose messages want no answer has none.

    Args:
        messages: as `split` gave them.
        errors: the outcome of each; missing ones are stored.
    """
    if len(messages) == 1 and block.startswith(b"MSH"):
        error = errors[0] if errors else None
        return acknowledge(messages[0], now_text=now_text, control_id=control_id, ack_code=ack_code, error=error)
    answers: list[tuple[int, bytes] | None] = []
    for number, message in enumerate(messages):
        error = errors[number] if number < len(errors) else None
        own_id = control_id if len(messages) == 1 else f"{control_id}.{number + 1}"
        answer = acknowledge(message, now_text=now_text, control_id=own_id, ack_code=ack_code, error=error)
        severity = 2 if header.read_msh(message).problem or (error and error.reject) else 1 if error else 0
        answers.append(None if answer is None else (severity, answer))
    given = [answer for answer in answers if answer is not None]
    if not given:
        return None
    wrapped = envelope(block)
    if wrapped is None:
        worst = max(severity for severity, _ in given)
        return [answer for severity, answer in given if severity == worst][-1]
    texts = [None if answer is None else answer[1] for answer in answers]
    return _batches(wrapped, texts, header.read_msh(messages[0]), now_text, control_id)


def read_ack(payload: bytes) -> Ack:
    """Read the answer to a message of ours.

    Raises:
        ContentError: UNREADABLE: it is no acknowledgement.
    """
    msh = header.read_msh(payload)
    if msh.problem in (header.NO_MSH, header.BAD_DELIMITERS):
        raise ContentError(ReasonCode.UNREADABLE, msh.problem)
    text = payload.decode(msh.wide or "latin-1", "replace").replace("\n", "\r")
    segments = {}
    for line in reversed(text.split("\r")):  # the first of each name wins
        fields = line.split(msh.delimiters.field)
        segments[fields[0]] = fields + [""] * 9
    msa = segments.get("MSA")
    if msa is None:
        raise ContentError(ReasonCode.UNREADABLE, "no MSA segment")
    code = msa[1].strip().upper()
    if code not in ("AA", "AE", "AR", "CA", "CE", "CR"):
        raise ContentError(ReasonCode.UNREADABLE, "not a code of table 0008", place="MSA-1")
    error = segments.get("ERR", [""] * 9)
    words = next((value.strip() for value in (msa[3], error[8], error[7], error[3], error[1]) if value.strip()), "")
    control_id, words = msa[2].strip(), words[:MAX_ECHO]
    return Ack(code, control_id, words) if msh.wide else Ack(code, header.readable(control_id), header.readable(words))


# -- batches -----------------------------------------------------------------------------------------------------


def _batches(
    wrapped: Envelope, answers: Sequence[bytes | None], first: header.Msh, now_text: str, control_id: str
) -> bytes:
    """Answers in the batches and the file that their messages came in. ``first``: for what a header does not say."""
    batches = wrapped.batches if sum(count for _, count in wrapped.batches) == len(answers) else [(None, len(answers))]
    parts: list[bytes] = []
    at = answered = 0
    for head, count in batches:
        inside = [answer for answer in answers[at : at + count] if answer is not None]
        at += count
        if not inside:
            continue
        answered += 1
        own_id = control_id if answered == 1 else f"{control_id}.B{answered}"
        top, bar = _header("BHS", head, first, now_text, own_id)
        parts += [top, *inside, _encode(f"BTS{bar}{len(inside)}\r", first)]
    if wrapped.file is not None:
        top, bar = _header("FHS", wrapped.file, first, now_text, control_id)
        parts = [top, *parts, _encode(f"FTS{bar}{answered}\r", first)]
    mark = "\ufeff".encode(first.wide) if first.wide.endswith("-le") else b""
    return parts[0] + b"".join(part.removeprefix(mark) for part in parts[1:])


def _header(name: str, theirs: bytes | None, first: header.Msh, now_text: str, control_id: str) -> tuple[bytes, str]:
    """A BHS or FHS that answers theirs, and its field separator: both have the fields of an MSH up to the time."""
    if theirs is not None and first.wide:
        theirs = theirs.decode("utf-8", "replace").encode("latin-1", "replace")
    head = header.read_msh(b"MSH" + theirs[3:]) if theirs is not None else first
    reference = _echo(head, 11) if theirs is not None else ""
    if head.problem == header.BAD_DELIMITERS:
        head = first
    delimiters, encoding = _delimiters(head)
    alike = delimiters == _delimiters(first)[0]
    names = [_echo(head, number) or (_echo(first, number) if alike else "") for number in (5, 6, 3, 4)]
    bar = delimiters.field
    line = bar.join([name, encoding, *names, now_text, "", "", "", control_id, reference]).rstrip(bar)
    return _encode(line + "\r", first), bar


# -- building ----------------------------------------------------------------------------------------------------


def _code(msh: header.Msh, error: AckError | None, *, always: bool = False) -> str:
    return answer_code(msh.field(15), msh.field(16), error, always=always)


def _is_ack(msh: header.Msh) -> bool:
    return header.message_type(msh.field(9)[:64], msh.delimiters.component).partition("^")[0] in ("ACK", "MCF")


def _condition(value: str) -> str:
    value = value.strip().upper()
    return value if value in ("AL", "NE", "ER", "SU") else ""


def _message(
    msh: header.Msh, code: str, now_text: str, control_id: str, error: AckError | None, *, alone: bool = False
) -> bytes:
    fields = msh.fields
    lasting = fields[:6] + _ABSENT + fields[7:9] + _ABSENT + fields[10:]  # without MSH-7 and MSH-10
    start, between, end, rest = _around(lasting, msh.delimiters, msh.problem, code, error, alone)
    theirs = "" if msh.problem == header.LONG_CONTROL_ID else _echo(msh, 10, strip=False)
    return _encode(f"{start}{now_text}{between}{control_id}{end}{theirs}{rest}", msh)


@lru_cache(maxsize=64)
def _around(
    lasting: tuple[str, ...], their: Delimiters, problem: str, code: str, error: AckError | None, alone: bool
) -> tuple[str, str, str, str]:
    """The text of an answer before, between and after its MSH-7, MSH-10 and MSA-2. A sender's answers share it.

    Args:
        lasting: the fields of the sender's MSH, MSH-7 and MSH-10 left empty; at most `header.HEAD_BYTES` in all.
    """
    msh = header.Msh(lasting, their, problem=problem)
    delimiters, encoding = _delimiters(msh)
    bar = delimiters.field
    their_version = _echo(msh, 12) or _DEFAULT_VERSION
    number = _version_number(their_version)
    start = ["MSH", encoding, *(_echo(msh, field) for field in (5, 6, 3, 4)), ""]
    between = ["", "", _type(msh, number, delimiters), ""]
    condition = "NE" if alone else ""
    behind = ["", _echo(msh, 11) or "P", their_version, "", "", condition, condition, "", _echo(msh, 18)]
    end = bar.join(behind).rstrip(bar) + "\r" + bar.join(["MSA", code, ""])
    rest = "\r"
    if error is not None:
        if number < (2, 5):
            rest = bar + escape(error.text or TABLE_0357.get(error.condition, ""), delimiters) + "\r"
        rest += bar.join(_err(error, number, delimiters)) + "\r"
    return bar.join(start), bar.join(between), end, rest


def _delimiters(msh: header.Msh) -> tuple[Delimiters, str]:
    """The sender's delimiters and MSH-2, or the usual ones where the sender's cannot be used."""
    if msh.problem in (header.NO_MSH, header.BAD_DELIMITERS):
        return Delimiters(), _ENCODING
    return msh.delimiters, msh.field(2)


def _type(msh: header.Msh, number: tuple[int, ...], delimiters: Delimiters) -> str:
    """MSH-9: the trigger came with v2.3.1, the structure is asked for since v2.4."""
    trigger = header.message_type(msh.field(9)[:64], msh.delimiters.component).partition("^")[2]
    if (
        number < (2, 3, 1)
        or not trigger
        or not delimiters.component
        or msh.problem in (header.NO_MSH, header.BAD_DELIMITERS)
    ):
        return "ACK"
    parts = ["ACK", trigger] if number < (2, 4) else ["ACK", trigger, "ACK"]
    return delimiters.component.join(parts)


def _err(error: AckError, number: tuple[int, ...], delimiters: Delimiters) -> list[str]:
    caret = delimiters.component or " "
    meaning = TABLE_0357.get(error.condition, "")
    location = error.location.replace("^", caret)
    coded = [str(error.condition), meaning, "HL70357"]
    if number < (2, 5):  # ERR-1 (ELD): segment, sequence, field, and the error as its fourth component
        ampersand = delimiters.subcomponent or " "
        places = [*error.location.split("^"), "", ""][:3]
        return ["ERR", caret.join([*places, ampersand.join(coded)])]
    return ["ERR", "", location, caret.join(coded), "E", "", "", "", escape(error.text, delimiters)]


def _echo(msh: header.Msh, number: int, *, strip: bool = True) -> str:
    """A field of the sender's as it is, without characters that could break framing or segments."""
    if msh.problem in (header.NO_MSH, header.BAD_DELIMITERS):
        return ""
    value = msh.field(number)[:MAX_ECHO]
    if not value.isprintable():
        value = value.translate(_CONTROLS)
    return value.strip() if strip else value


def _version_number(text: str) -> tuple[int, ...]:
    """(2, 3, 1) of ``2.3.1``; a version that is none counts as one that reads the shortest answer."""
    parts = [part for part in header.version(text).split(".")[:3] if part.isdigit()]
    return tuple(map(int, parts)) if parts else (2, 1)


def _encode(text: str, msh: header.Msh) -> bytes:
    """Back to bytes: the sender's own, since its values were read byte by character."""
    if not msh.wide:
        return text.encode("latin-1", "replace")
    # Without a mark UTF-16 is read as big-endian.
    mark = "\ufeff" if msh.wide.endswith("-le") else ""
    return (mark + text).encode(msh.wide, "replace")
