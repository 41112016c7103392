"""The numbers of tubes and persons that a message is certain to have.

A maker may use the place of a number otherwise than its standard: a rack and a position beside the tube, a name in the
place of a patient number. What is not certain is no number, and a warning names the setting that says it.
"""

from engine.mapping.message.message_context import NAMED, PATIENTS, MessageContext
from engine.model.content.numbers import PLACES, has_digit, is_listed, is_name, is_tube, may_last, stands_for_none
from engine.model.message import Segment

_READ_AS = ("A", "B", "C", "M")  # Sysmex: counted, read, given by the host, typed in
_NAMED = "a name is where a patient number should be: it identifies no person, and the message is of no other one"
_WORD = "a patient number without a digit may be a name; it was kept, and is not taken to last"
_RACK, _SHORT_RACK = 6, 3  # digits of a rack's number at most, and of one that is never that of a tube
_FIRST = 4  # components in which the only one is a number; a dialect keeps a count behind them


def tube_number(run: MessageContext, raw: str, place: str) -> str | None:
    """The number of a tube in a field of an O record (``O-3``, ``O-4``), or of a P record in its place.

    It is the component that the site names (setting `specimen`: ``O-4.2``), component 3 where component 4 says how the
    tube was read and component 1 may be a rack (Sysmex), that of the instrument's own count, the first of O-3, or the
    only one. Of others nothing says which is the number: they may be a rack and a position.
    """
    stated = run.setting("specimen") or ""
    if not stated and raw.isalnum() and raw.isascii() and raw.strip("0") and "no_specimen_ids" not in run.settings:
        return raw  # of nearly each message
    parts = raw.partition(run.R)[0].split(run.C)
    if stated and place[0] == "O":
        field, _, component = stated.partition(".")
        number = run.part_text(parts, int(component) - 1) if field == place else None
    elif len(parts) >= _FIRST and run.text(parts[3]) in _READ_AS and not _is_beyond_rack(run.text(parts[0])):
        number = run.text(parts[2])
        if _is_rack_long(run.text(parts[0]), parts[2]):
            return None
    else:
        is_first = place != "O-4" or run.setting("instrument_specimens")
        number = (run.text(parts[0]) if is_first else None) or _only(run, parts)
    if not number or is_tube(number, run.settings):
        return number
    if is_name((number,)):
        run.named_tubes = True
        run.warn("NO_DIGIT", NAMED.replace("OBR-2", place))
    return None


def _is_beyond_rack(first: str | None) -> bool:
    """Whether component 1 is no number of a rack, which has six digits at most."""
    return first is not None and (len(first) > _RACK or not first.isdecimal())


def _is_rack_long(first: str | None, third: str) -> bool:
    """Whether component 1 may be the number and component 3 a position: of a Sysmex, a short number is padded."""
    return first is not None and len(first) > max(_SHORT_RACK, len(third))


def _only(run: MessageContext, parts: list[str]) -> str | None:
    texts = [*filter(None, map(run.text, parts[:_FIRST]))]
    return texts[0] if len(texts) == 1 else None


def is_no_patient_number(run: MessageContext, raw: str, text: str) -> bool:
    """Whether a repetition of a field of patient numbers holds a placeholder, the number of the order or specimen
    beside it, or a name; a text without a digit is warned of."""
    if _is_placeholder(run, text):
        return True
    if may_last(text):
        return False
    name = PATIENTS[run.parsed.format]
    people = run.parsed.names.get(name, [])
    at = next((at for person in people for at in PLACES[name] if raw in person.get(at).split(run.R)), 3)
    settle = f"`not_numbers: [{name}-{at}]` says that this field never holds a number"
    if is_named(run, raw):
        run.warn("NO_PATIENT_ID", f"{_NAMED}; {settle}")
        return True
    run.warn("NO_DIGIT", f"{_WORD}; {settle}")
    return False


def _is_placeholder(run: MessageContext, text: str) -> bool:
    stated = run.settings.get("no_patient_ids")
    if stated is not None:
        is_none = is_listed(text, [stated] if isinstance(stated, str) else stated)
    else:
        is_none = stands_for_none(text)
        if not is_none and run.is_beside_orders(text):
            run.warn("NO_PATIENT_ID", "the number of the order or specimen is where a patient number should be")
            return True
    if is_none:
        run.warn(
            "NO_PATIENT_ID",
            "the text in the place of a patient number says that there is none (setting no_patient_ids)",
        )
    return is_none


def named_parts(run: MessageContext, raw: str) -> list[str]:
    """The texts of the components that may be a name; of a CX the authority follows."""
    return [*filter(None, map(run.text, raw.split(run.C)[: 3 if run.hl7 else None]))]


def is_named(run: MessageContext, raw: str) -> bool:
    """Whether a repetition of a field of patient numbers is a name."""
    if has_digit(raw.partition(run.C)[0]):  # of nearly each number
        return False
    words = named_parts(run, raw)
    return is_name(words) and not stands_for_none(" ".join(words))


def may_be_names(run: MessageContext) -> bool:
    """Whether a person of the message may be named in the place of a patient number, or of that of a tube (ASTM)."""
    name = PATIENTS.get(run.parsed.format)
    if any(may_be_named(run, person) for person in run.parsed.names.get(name or "", [])):
        return True
    numbers = (order.get(at) for order in run.parsed.names.get("O", []) for at in PLACES["O"])
    return not run.hl7 and any(run.X in number or len(number.split()) > 1 for number in numbers)


def names_alone(run: MessageContext) -> str:
    """The names and birth dates of persons who are named in the place of a patient number and have none."""
    if run.parsed.is_plain:
        return ""
    if run.named_alone is None:
        name = PATIENTS.get(run.parsed.format)
        texts = [
            "\x1f".join(map(person.get, (*PLACES[person.name], run.identity.birth_date)))
            for person in run.parsed.names.get(name or "", [])
            if _is_named_alone(run, person)
        ]
        run.named_alone = "\x1f".join(texts)
    return run.named_alone


def _is_named_alone(run: MessageContext, person: Segment) -> bool:
    """Whether a PID or P has a name in the place of a patient number, and no number."""
    if not may_be_named(run, person):
        return False
    texts = [raw for at in PLACES[person.name] for raw in person.get(at).split(run.R) if raw]
    return any(is_named(run, raw) for raw in texts) and not any(_is_number(run, raw) for raw in texts)


def may_be_named(run: MessageContext, person: Segment) -> bool:
    """Whether a field of patient numbers begins with a component without a digit, as hardly any does."""
    first, *_, last = PLACES[person.name]
    for field in person.fields[first : last + 1]:
        if field:
            part = field.partition(run.C)[0]
            if not (part[-1:].isdigit() or has_digit(part)):
                return True
    return False


def _is_number(run: MessageContext, raw: str) -> bool:
    text = run.text(raw)
    return text is not None and not stands_for_none(text) and not is_named(run, raw)
