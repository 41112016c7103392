"""Whether an order is of a patient, or of a control, a blank, a calibrator or a pool (`engine.model.controls`)."""

from collections.abc import Iterator

from engine.mapping.functions.registry import function
from engine.mapping.message_context import MessageContext
from engine.model.controls import ASTM_ROLE, ROLES, is_control_number, matches

NUMBERS, ORDERS = "control_numbers", "control_orders"


@function(
    "is_control(roles: text[]?, order: field[]?, number: field[]?, other: field[]?, specimen: field[]?, tube: field[]?)"
    " -> flag!",
    steady=True,
    settings=(NUMBERS, ORDERS),
)
def is_control(
    run: MessageContext,
    roles: list[str] | None,
    order: list[str] | None = None,
    *numbers: list[str] | None,
) -> bool:
    """Whether an order is of a control, a blank, a calibrator or a pool: by its role (O-12 is Q; SPM-11, OBR-15.7 of
    table 0369), by the number of its specimen or order, or by its code. The settings `control_numbers` and
    `control_orders` list such numbers and codes, `*` for any text: `[QC*]`. `Background` is a blank everywhere."""
    if roles and (not ROLES.isdisjoint(roles) if run.hl7 else ASTM_ROLE in roles):
        return True
    listed = _listed(run, NUMBERS)
    if any(is_control_number(text, listed) for raws in numbers for text in _parts(run, raws)):
        return True
    codes = _listed(run, ORDERS)
    return bool(codes) and any(matches(text, codes) for text in _parts(run, order))


def _parts(run: MessageContext, raws: list[str] | None) -> Iterator[str]:
    """The components of a field: a rack and a position may be before a number."""
    for raw in raws or ():
        for part in raw.split(run.C):
            if text := run.text(part):
                yield text


def _listed(run: MessageContext, name: str) -> list[str]:
    listed = run.settings.get(name)
    return [listed] if isinstance(listed, str) else [str(one) for one in listed or ()]
