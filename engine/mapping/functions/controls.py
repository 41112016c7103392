"""Whether an order is of a patient, a control, a blank, a calibrator or a pool
(`engine.model.content.quality_controls`)."""

from engine.mapping.functions.registry import function
from engine.mapping.message.message_context import MessageContext
from engine.model.content.quality_controls import (
    ASTM_ROLE,
    PATIENT,
    ROLES,
    SPECIMEN_ROLES,
    is_control_number,
    listed,
    matches,
)

NUMBERS, ORDERS, MODES = "control_numbers", "control_orders", "control_modes"
_MODES = frozenset("AIRST")  # HL7 table 0207, and S for samples
_LONGEST = 3  # signs of a mode that a warning names


@function(
    "is_control(roles: text[]?, specimen_roles: text[]?, orders: field[]?, numbers: text[]?, fillers: text[]?,"
    " placers: text[]?) -> flag!",
    whole_message=True,
    settings=(NUMBERS, ORDERS, MODES),
)
def is_control(
    run: MessageContext,
    roles: list[str] | None,
    specimen_roles: list[str] | None = None,
    orders: list[str] | None = None,
    numbers: list[str] | None = None,
    fillers: list[str] | None = None,
    placers: list[str] | None = None,
) -> bool:
    """Whether an order is of a control, a blank, a calibrator or a pool: by its role (O-12 is Q; OBR-15.7, SPM-11 of
    table 0369, where P, a patient, counts before OBR-15.7), by a number of its specimen (`numbers`) or its own
    (`fillers`), or by its code; of several tests each has to be one. The settings `control_numbers` and
    `control_orders` list such numbers and codes, `*` for any text: `[QC*]`. `Background` is a blank everywhere. The
    `placers`, numbers of who ordered, count where the specimen has no number and is not said to be a patient's;
    `fillers` of digits alone, as an analyzer counts, where it is not both."""
    if run.hl7 and is_control_mode(run):
        return True
    said = {role.upper() for role in specimen_roles or ()}
    if run.hl7:
        if not SPECIMEN_ROLES.isdisjoint(said) or not (PATIENT in said or ROLES.isdisjoint(roles or ())):
            return True
    elif any(role.upper() == ASTM_ROLE for role in roles or ()):
        return True
    counted = list(fillers or ())
    if numbers and PATIENT in said:
        counted = [number for number in counted if not number.strip().isdigit()]
    elif not numbers and PATIENT not in said:
        counted += placers or ()
    numbered = listed(run.settings, NUMBERS) if NUMBERS in run.settings else ()
    if any(is_control_number(number, numbered) for number in (*(numbers or ()), *counted)):
        return True
    codes = listed(run.settings, ORDERS) if orders and ORDERS in run.settings else ()
    return bool(codes) and all(
        any(matches(text, codes) for part in raw.split(run.C) if (text := run.text(part))) for raw in orders or ()
    )


@function("is_control_mode() -> flag!", settings=(MODES,))
def is_control_mode(run: MessageContext) -> bool:
    """Whether MSH-11.2, the mode of processing, is one that the channel lists under `control_modes`: all of the message
    is of controls (`P^LJ` of a CellQuant BF-6900: `[LJ]`). Another one that HL7 table 0207 lacks is warned of."""
    processing = run.parsed.segments[0].get(11)
    if run.C not in processing or (mode := run.text(processing.partition(run.C)[2])) is None or mode in _MODES:
        return False
    if matches(mode.upper(), [pattern.upper() for pattern in listed(run.settings, MODES)]):
        return True
    shown = mode if len(mode) <= _LONGEST and mode.isalnum() else "LJ"
    text = f"MSH-11.2 is no mode of HL7; where it marks controls: `{MODES}: [{shown}]`"
    run.warn("CONTROL_MODE", text, field="MSH-11")
    return False
