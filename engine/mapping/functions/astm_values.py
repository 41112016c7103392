"""Values of several components in R-4 of ASTM E1394: a setting says which of them is the value.

    5.5                           no component delimiter: the value
    NOT DETECTED^                 nothing behind component 1: the value is component 1
    DETECTED^1250   -1^0.282      a call and a number (GeneXpert, cobas e411): r4: call^value
    0^4+^98                       corrected by a person, read by the machine, strength: r4: corrected^value^strength
    O^POS^NEG^ccee^K-^NEG         a blood group: no part is the value; r4: ABO^RhD^DAT^phenotype^Kell^antibodies
    5.5^mmol   5^6   132.1^27     nothing says which: the whole is one text, with the warning VALUE_PARTS

The channel's setting ``r4`` (a pack may give it) names the components in their order: ``value``, ``call`` (a word about
the value), any other name (a part of the result with a value of its own). ``-`` leaves out a component.
"""

from dataclasses import dataclass
from typing import Any

from engine.mapping.functions.registry import function
from engine.mapping.message.message_context import MessageContext
from engine.model.content.results import CALL, LEFT_OUT, VALUE, component_names

SETTING = "r4"


@dataclass(frozen=True, slots=True)
class _Parts:
    """A value of several components.

    Attributes:
        value: the component that is the value, raw; None where none is, or it is empty.
        call: the component that is a word about the value, raw.
        named: the other components by their names.
        whole: whether the value is all components as one text.
        unclear: whether nothing says what the components are.
    """

    value: str | None
    call: str | None = None
    named: tuple[tuple[str, str], ...] = ()
    whole: bool = False
    unclear: bool = False


_NOTHING = ("", '""')
_UNCLEAR = _Parts(None, whole=True, unclear=True)


@function("astm_value(value: field) -> field", settings=(SETTING,))
def astm_value(run: MessageContext, raw: str) -> str | None:
    """The component of R-4 that is the value: component 1 where it is the last one, else the one that the setting `r4`
    names `value` (the `call` where it is alone). Absent where no setting says which component is the value: `5^6` is
    neither 5 nor 6.
    """
    return raw if run.C not in raw else _read(run, raw).value


@function("astm_value_unclear(value: field) -> flag!", settings=(SETTING,))
def astm_value_unclear(run: MessageContext, raw: str) -> bool:
    """Whether R-4 has components that no setting explains: then all of them are one text."""
    return run.C in raw and _read(run, raw).unclear


@function("astm_value_text(value: field) -> text", settings=(SETTING,))
def astm_value_text(run: MessageContext, raw: str) -> str | None:
    """The value of R-4 as text: that of `astm_value`, else all components with the delimiters that were sent."""
    if run.C not in raw:
        return run.whole(raw.strip())
    parts = _read(run, raw)
    text = raw if parts.whole else parts.value
    return None if text is None else run.whole(text.strip())


@function("astm_call(value: field) -> text", settings=(SETTING,), of_components=True)
def astm_call(run: MessageContext, raw: str) -> str | None:
    """The word beside the value of R-4 (`DETECTED^1250`), where the setting `r4` says so (`call^value`)."""
    if run.C not in raw:
        return None
    call = _read(run, raw).call
    return None if call is None else run.text(call)


@function("astm_components(value: field) -> Observation.component[]", settings=(SETTING,), of_components=True)
def astm_components(run: MessageContext, raw: str) -> list[dict[str, Any]] | None:
    """The components of R-4 that the setting `r4` gives names of their own, each as a component of the Observation."""
    if run.C not in raw:
        return None
    found = [(name, run.text(part)) for name, part in _read(run, raw).named]
    return [{"code": {"text": name}, "valueString": text} for name, text in found if text is not None] or None


@function("astm_components_text(value: field) -> text", settings=(SETTING,), of_components=True)
def astm_components_text(run: MessageContext, raw: str) -> str | None:
    """As `astm_components`, as one text: `corrected: 0; strength: 98`."""
    if run.C not in raw:
        return None
    found = [(name, run.text(part)) for name, part in _read(run, raw).named]
    return "; ".join(f"{name}: {text}" for name, text in found if text is not None) or None


def _read(run: MessageContext, raw: str) -> _Parts:
    """The parts of a value; those read last are kept, for several rules ask about one result."""
    if run.parts is None or run.parts[0] != raw:
        run.parts = raw, _parts(raw.split(run.C), component_names(run.setting(SETTING) or ""))
    parts: _Parts = run.parts[1]
    return parts


def _parts(components: list[str], names: tuple[str, ...]) -> _Parts:
    said = [at for at, part in enumerate(components) if part.strip() not in _NOTHING]
    if not said:
        return _Parts(None)
    if not names:
        return _Parts(components[0]) if said == [0] else _UNCLEAR
    if said[-1] >= len(names):
        return _UNCLEAR
    by_name = {name: components[at] for at, name in enumerate(names) if at in said}
    value, call = by_name.pop(VALUE, None), by_name.pop(CALL, None)
    by_name.pop(LEFT_OUT, None)
    if value is None:
        value, call = call, None
    # A result that has names for all its components and none for the value is the whole of them.
    whole = VALUE not in names and CALL not in names
    return _Parts(value, call, tuple(by_name.items()), whole)
