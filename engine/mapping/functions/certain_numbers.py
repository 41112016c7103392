"""The numbers of tubes that are certain, and persons who are named in the place of a number
(`engine.mapping.message.certain_numbers`)."""

from engine.mapping.functions.registry import function
from engine.mapping.message import certain_numbers
from engine.mapping.message.certain_numbers import is_named, may_be_named, named_parts, names_alone
from engine.mapping.message.key_scope import KeyScope
from engine.mapping.message.message_context import MessageContext
from engine.model.content.numbers import PLACES, is_name, is_tube
from engine.model.message import Segment


@function(
    "tube_number(number: field, place: literal) -> text",
    settings=("specimen", "no_specimen_ids", "instrument_specimens"),
)
def tube_number(run: MessageContext, raw: str, place: str) -> str | None:
    """The number of a tube in O-3 or O-4 (or P, in the place of them): the component that the setting `specimen` names,
    component 3 where component 4 says how the tube was read (Sysmex: A, B, C, M), the first of O-3, or the only one.
    Of several others nothing says which is the number: absent. Zeros, and texts of `no_specimen_ids`, are none."""
    return certain_numbers.tube_number(run, raw, place)


@function("tube_parts(number: field) -> text", steady=True, of_components=True)
def tube_parts(run: MessageContext, raw: str) -> str | None:
    """The text of O-3 or O-4 that has several components: it distinguishes tubes that have no certain number."""
    return run.whole(raw) if sum(map(bool, map(run.text, raw.split(run.C)))) > 1 else None


@function("name_for_number(patient: segment) -> text", settings=("no_patient_ids",))
def name_for_number(run: MessageContext, patient: Segment) -> str | None:
    """The name that PID or P has in the place of a patient number, or a record behind it in that of an order or a
    specimen, as a note: it identifies no person and no tube."""
    if run.parsed.is_plain and not (run.parsed.cleared if run.hl7 else run.named_tubes):
        return None
    behind = _names_behind(run, patient)
    if not may_be_named(run, patient):
        return f"In the place of a number: {'; '.join(behind)}" if behind else None
    names = [
        " ".join(named_parts(run, raw))
        for number in PLACES[patient.name]
        for raw in run.get(patient, number).split(run.R)
        if is_named(run, raw)
    ]
    return f"In the place of a patient number: {'; '.join(dict.fromkeys(names + behind))}" if names + behind else None


def _names_behind(run: MessageContext, patient: Segment) -> list[str]:
    """The names in the place of the numbers of orders and specimens, behind a patient and before the next one."""
    names: list[str] = []
    for segment in run.parsed.segments[patient.position :]:
        if segment.name == patient.name:
            break
        names += (run.parsed.cleared or {}).get(segment.position, ())
        if segment.name == "O":
            numbers = (run.text(segment.get(at)) or "" for at in PLACES["O"])
            names += [number for number in numbers if is_name((number,)) and not is_tube(number, run.settings)]
    return names


@function("alone() -> text", whole_message=True)
def alone(run: MessageContext) -> str | None:
    """A text that no other message has, unless it is the same one again: for the key of what has no certain number.
    Absent in a message over HL7 v2 whose numbers are certain."""
    scope = KeyScope(run)
    return scope.these_bytes() if scope.is_unsure or not run.hl7 else None


@function("named_alone() -> text", whole_message=True)
def named_alone(run: MessageContext) -> str | None:
    """As alone(), where a person is named in the place of a patient number and has none; absent elsewhere."""
    return alone(run) if names_alone(run) else None
