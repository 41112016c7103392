"""Values of several components (R-4 of ASTM E1394, OBX-5 of HL7 v2), and flags in other places than their own.

    5.5                           no component delimiter: the value
    NOT DETECTED^                 nothing behind component 1: the value is component 1
    DETECTED^1250   -1^0.282      a call and a number (GeneXpert, cobas e411): r4: call^value
    71^LL                         a number and its flag: r4: value^flag
    5981666^390.946               a signal of the instrument and a number: obx5: -^value
    0^4+^98                       corrected by a person, read by the machine, strength: r4: corrected^value^strength
    O^POS^NEG^ccee^K-^NEG         a blood group: no part is the value; r4: ABO^RhD^DAT^phenotype^Kell^antibodies
    5.5^mmol   5^6   132.1^27     nothing says which: the whole is one text, with the warning VALUE_PARTS

The channel's settings ``r4`` and ``obx5`` (a pack may give them) name the components in their order: ``value``,
``call`` (a word about the value), ``flag`` (of HL7 table 0078), any other name (a part of the result with a value of
its own). ``-`` leaves out a component. ``obx5`` is for numbers and texts (`_PLAIN`): other types have components, and
those of SN no words.

A call that is one of `_FLAGS` is a flag: no answer of a test reads like that. A, B, N, POS are answers. S, I and R are
flags beside a drug alone, for R is a rerun elsewhere, too.

A flag is no range: where a maker has its fields one place further (DxH: R-7 ``109 to 143``), R-7 holds the range.
"""

import re
from dataclasses import dataclass
from typing import Any

from engine.mapping.functions.numbers import decimal
from engine.mapping.functions.ranges import is_range, whole_ranges
from engine.mapping.functions.registry import function
from engine.mapping.functions.relations import has_heads
from engine.mapping.message.message_context import MessageContext
from engine.model.content.results import CALL, FLAG, LEFT_OUT, VALUE, component_names

ASTM_SETTING, HL7_SETTING = "r4", "obx5"

Components = list[dict[str, Any]] | None

_NOTHING = ("", '""')
_PLAIN = frozenset({"NM", "ST", "TX", "FT", "auto"})  # types of table 0125 without components
_NUMBERS = ("NM", "SN")
_FLAGS = frozenset({"HH", "LL", "AA", "H", "L", ">", "<"})
_OF_DRUGS = frozenset({"S", "I", "R"})
# AST alone is an enzyme.
_DRUG = re.compile(r"(?<![a-z])(?:mic(?![a-z])|ast[_-](?:mgit|disk|kb)|etest|suscep)", re.IGNORECASE | re.ASCII).search
# Rules of Westgard with the limit in `s`; `10-14s` is a range of seconds.
_RULE = re.compile(r"[1-9]-[1-6](?:\.5)?s|[0-9]+(?:-[0-9]+){2,}", re.IGNORECASE | re.ASCII).fullmatch
_NUMBER = re.compile(r"[-+<>=]*\s*[0-9][0-9.,]*", re.ASCII).fullmatch  # no flag reads like that
_DIVIDED = re.compile(r"(?<=[0-9])[\^_](?=[0-9]+[.,]?[0-9]+$)", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Parts:
    """A value of several components.

    Attributes:
        value: the component that is the value, raw; None where none is, or it is empty.
        call: the component that is a word about the value, raw.
        flag: the component that is a flag, raw.
        named: the other components by their names.
        whole: whether the value is all components as one text.
        unclear: whether nothing says what the components are.
    """

    value: str | None
    call: str | None = None
    flag: str | None = None
    named: tuple[tuple[str, str], ...] = ()
    whole: bool = False
    unclear: bool = False


_UNCLEAR = _Parts(None, whole=True, unclear=True)


# -- ASTM E1394 --------------------------------------------------------------------------------------------------------


@function("astm_value(value: field) -> field", settings=(ASTM_SETTING,), is_field=True)
def astm_value(run: MessageContext, raw: str) -> str | None:
    """The component of R-4 that is the value: component 1 where it is the last one, else the one that the setting `r4`
    names `value` (the `call` where it is alone). Absent where no setting says which component is the value: `5^6` is
    neither 5 nor 6.
    """
    return raw if run.C not in raw else _read(run, raw).value


@function("astm_value_unclear(value: field) -> flag!", settings=(ASTM_SETTING,))
def astm_value_unclear(run: MessageContext, raw: str) -> bool:
    """Whether R-4 has components that no setting explains: then all of them are one text."""
    return run.C in raw and _read(run, raw).unclear


@function("astm_value_text(value: field) -> text", settings=(ASTM_SETTING,))
def astm_value_text(run: MessageContext, raw: str) -> str | None:
    """The value of R-4 as text: that of `astm_value`, else all components with the delimiters that were sent."""
    if run.C not in raw:
        return run.whole(raw.strip())
    return _text(run, raw, _read(run, raw))


@function("astm_call(value: field, test: field?) -> text", settings=(ASTM_SETTING,), of_components=True)
def astm_call(run: MessageContext, raw: str, test: str | None = None) -> str | None:
    """The word beside the value of R-4 (`DETECTED^1250`), where the setting `r4` says so (`call^value`) and the word
    is no flag (`astm_call_flags`). `test` is R-3."""
    return _call(run, _read(run, raw), test) if run.C in raw else None


@function("astm_call_flags(value: field, test: field?) -> field[]", settings=(ASTM_SETTING,), of_components=True)
def astm_call_flags(run: MessageContext, raw: str, test: str | None = None) -> list[str] | None:
    """The flags in R-4, where the setting `r4` says so: a `flag`, and a `call` that is HH, LL, H, L, AA, `>` or `<`;
    beside a drug S, I or R. `test` is R-3."""
    return _flags(run, _read(run, raw), test) if run.C in raw else None


@function("astm_components(value: field) -> Observation.component[]", settings=(ASTM_SETTING,), of_components=True)
def astm_components(run: MessageContext, raw: str) -> Components:
    """The components of R-4 that the setting `r4` gives names of their own, each as a component of the Observation."""
    return _components(run, _read(run, raw)) if run.C in raw else None


@function("astm_components_text(value: field) -> text", settings=(ASTM_SETTING,), of_components=True)
def astm_components_text(run: MessageContext, raw: str) -> str | None:
    """As `astm_components`, as one text: `corrected: 0; strength: 98`."""
    return _components_text(run, _read(run, raw)) if run.C in raw else None


@function("astm_flags(flags: field[]) -> field[]", steady=True)
def astm_flags(run: MessageContext, flags: list[str]) -> list[str] | None:
    """The repetitions of R-7 that may be flags. A range is none: it is read as one (`astm_ranges`)."""
    if len(flags) == 1 and (len(flags[0]) < 2 or flags[0].isalpha()):  # nearly all
        return flags
    return [raw for raw in flags if not holds_range(run, raw)] or None


@function("astm_ranges(ranges: field[]?, flags: field[]?) -> field[]", steady=True)
def astm_ranges(run: MessageContext, ranges: list[str] | None, flags: list[str] | None = None) -> list[str] | None:
    """The ranges in R-6 (`whole_ranges`), and those in R-7, where flags belong."""
    limits = ranges and whole_ranges(run, ranges)
    if not flags or (len(flags) == 1 and (len(flags[0]) < 2 or flags[0].isalpha())):
        return limits
    return [*(limits or ()), *(raw for raw in flags if holds_range(run, raw))] or None


def holds_range(run: MessageContext, raw: str) -> bool:
    """Whether a field of flags holds a range, as people write them: `(3.5-5.1)`, `3,5-5,1`, `70_99`."""
    if run.R in raw:
        return any(holds_range(run, part) for part in raw.split(run.R))
    text = raw.strip("()[] ")
    if not any(map(str.isdigit, text)) or _RULE(text):
        return False
    return is_range(run, _DIVIDED.sub("-", text.replace(run.C, "^").replace(",", ".")))


# -- HL7 v2 ------------------------------------------------------------------------------------------------------------


@function("is_divided(value: field) -> flag", of_components=True)
def is_divided(run: MessageContext, raw: str) -> bool:
    """Whether a field has a delimiter of components."""
    return run.C in raw


@function("obx_divided(value: field, type: text) -> flag!", settings=(HL7_SETTING,))
def obx_divided(run: MessageContext, raw: str, kind: str) -> bool:
    """Whether OBX-5 has components that its type (OBX-2; `auto` where it is empty) does not explain, as `5^6` of a
    number: the setting `obx5` says what they are, or nothing does."""
    return _of_obx(run, raw, kind) is not None


@function("obx_value(value: field, type: text) -> field", settings=(HL7_SETTING,), is_field=True)
def obx_value(run: MessageContext, raw: str, kind: str) -> str | None:
    """The component of OBX-5 that the setting `obx5` names `value`; absent where nothing says which one it is."""
    if run.C not in raw:
        return raw
    parts = _of_obx(run, raw, kind)
    return raw if parts is None else parts.value


@function("obx_value_unclear(value: field, type: text) -> flag!", settings=(HL7_SETTING,))
def obx_value_unclear(run: MessageContext, raw: str, kind: str) -> bool:
    """Whether OBX-5 has components that no setting explains: then all of them are one text."""
    parts = _of_obx(run, raw, kind)
    return parts is not None and parts.unclear


@function("obx_text(value: field, type: text) -> text", settings=(HL7_SETTING,))
def obx_text(run: MessageContext, raw: str, kind: str) -> str | None:
    """The value of OBX-5 as text: that of `obx_value`, else all components with the delimiters that were sent."""
    parts = _of_obx(run, raw, kind)
    return run.whole(raw.strip()) if parts is None else _text(run, raw, parts)


@function("obx_call(value: field, type: text, test: field?) -> text", settings=(HL7_SETTING,))
def obx_call(run: MessageContext, raw: str, kind: str, test: str | None = None) -> str | None:
    """As `astm_call`, of OBX-5; `test` is OBX-3."""
    parts = _of_obx(run, raw, kind)
    return None if parts is None else _call(run, parts, test)


@function("obx_call_flags(value: field, type: text, test: field?) -> field[]", settings=(HL7_SETTING,))
def obx_call_flags(run: MessageContext, raw: str, kind: str, test: str | None = None) -> list[str] | None:
    """As `astm_call_flags`, of OBX-5; `test` is OBX-3."""
    parts = _of_obx(run, raw, kind)
    return None if parts is None else _flags(run, parts, test)


@function("obx_components(value: field, type: text) -> Observation.component[]", settings=(HL7_SETTING,))
def obx_components(run: MessageContext, raw: str, kind: str) -> Components:
    """As `astm_components`, of OBX-5."""
    parts = _of_obx(run, raw, kind)
    return None if parts is None else _components(run, parts)


@function("obx_components_text(value: field, type: text) -> text", settings=(HL7_SETTING,))
def obx_components_text(run: MessageContext, raw: str, kind: str) -> str | None:
    """As `astm_components_text`, of OBX-5."""
    parts = _of_obx(run, raw, kind)
    return None if parts is None else _components_text(run, parts)


def _of_obx(run: MessageContext, raw: str, kind: str) -> _Parts | None:
    """The parts of OBX-5; None where it is read as its type says."""
    if run.C not in raw or run.R in raw or not (kind in _PLAIN or (kind == "SN" and _has_words(run, raw))):
        return None
    names = component_names(run.setting(HL7_SETTING) or "")
    if names:
        return _read(run, raw)
    present = [part for part in raw.split(run.C) if part.strip() not in _NOTHING]
    numbers = sum(decimal(run, part) is not None for part in present)
    # `<^5` and `100^-^200` are numbers of type SN under another name; of a text two numbers alone are in doubt.
    if len(present) < 2 or decimal(run, raw) is not None or numbers < (1 if kind in _NUMBERS else 2):
        return None
    return _UNCLEAR


def _has_words(run: MessageContext, raw: str) -> bool:
    """Whether a component has a letter, or a fifth one is there: no number of type SN has (`>=^1^:^320`)."""
    parts = [run.text(part) or "" for part in raw.split(run.C)]
    return any(parts[4:]) or any(map(str.isalpha, "".join(parts)))


# -- both --------------------------------------------------------------------------------------------------------------


def _text(run: MessageContext, raw: str, parts: _Parts) -> str | None:
    text = raw if parts.whole else parts.value
    return None if text is None else run.whole(text.strip())


def _call(run: MessageContext, parts: _Parts, test: str | None) -> str | None:
    word = None if parts.call is None else run.text(parts.call)
    return None if word is None or _is_flag(run, word, test) else word


def _flags(run: MessageContext, parts: _Parts, test: str | None) -> list[str] | None:
    flags = [] if parts.flag is None else [parts.flag.strip()]
    if parts.call is not None and _is_flag(run, parts.call.strip(), test):
        flags.append(parts.call.strip())
    return flags or None


def _is_flag(run: MessageContext, word: str, test: str | None) -> bool:
    return word.upper() in _FLAGS or (
        word.upper() in _OF_DRUGS and (has_heads(run) or (test is not None and _DRUG(test) is not None))
    )


def _components(run: MessageContext, parts: _Parts) -> Components:
    texts = [(name, run.text(part)) for name, part in parts.named]
    return [{"code": {"text": name}, "valueString": text} for name, text in texts if text is not None] or None


def _components_text(run: MessageContext, parts: _Parts) -> str | None:
    texts = [(name, run.text(part)) for name, part in parts.named]
    return "; ".join(f"{name}: {text}" for name, text in texts if text is not None) or None


def _read(run: MessageContext, raw: str) -> _Parts:
    """The parts of a value; those read last are kept, for several rules ask about one result."""
    if run.parts is None or run.parts[0] != raw:
        names = component_names(run.setting(HL7_SETTING if run.hl7 else ASTM_SETTING) or "")
        run.parts = raw, _parts_of_value(raw.split(run.C), names)
    parts: _Parts = run.parts[1]
    return parts


def _parts_of_value(components: list[str], names: tuple[str, ...]) -> _Parts:
    present = [at for at, part in enumerate(components) if part.strip() not in _NOTHING]
    if not present:
        return _Parts(None)
    if not names:
        return _Parts(components[0]) if present == [0] else _UNCLEAR
    if present[-1] >= len(names):
        return _UNCLEAR
    by_name = {name: components[at] for at, name in enumerate(names) if at in present}
    value, call, flag = (by_name.pop(role, None) for role in (VALUE, CALL, FLAG))
    by_name.pop(LEFT_OUT, None)
    if flag is not None and _NUMBER(flag.strip()):
        return _UNCLEAR
    if value is None:
        value, call = call, None
    # A result that has names for all its components and none for the value is the whole of them.
    whole = not {VALUE, CALL}.intersection(names)
    return _Parts(value, call, flag, tuple(by_name.items()), whole)
