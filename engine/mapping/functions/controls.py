"""Whether an order is of a patient, a control, a blank, a calibrator or a pool
(`engine.model.content.quality_controls`)."""

from collections.abc import Mapping
from typing import Any

from engine.mapping.functions.registry import function
from engine.mapping.message.message_context import MessageContext
from engine.model.content.quality_controls import ASTM_ROLE, PATIENT, ROLES, SPECIMEN_ROLES, is_control_number, matches

NUMBERS, ORDERS = "control_numbers", "control_orders"


@function(
    "is_control(roles: text[]?, specimen_roles: text[]?, orders: field[]?, numbers: text[]?, fillers: text[]?,"
    " placers: text[]?) -> flag!",
    steady=True,
    settings=(NUMBERS, ORDERS),
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
    numbered = listed(run.settings, NUMBERS)
    if any(is_control_number(number, numbered) for number in (*(numbers or ()), *counted)):
        return True
    codes = listed(run.settings, ORDERS) if orders else ()
    return bool(codes) and all(
        any(matches(text, codes) for part in raw.split(run.C) if (text := run.text(part))) for raw in orders or ()
    )


def listed(settings: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """The patterns of a setting."""
    if not (found := settings.get(name)):
        return ()
    return tuple(str(one) for one in (found if isinstance(found, (list, tuple)) else (found,)))
