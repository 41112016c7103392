"""The results of tubes in a message, as its worklist gets them."""

from engine.mapping.measured import measured
from engine.model.content.order_results import TubeResults, tubes_in
from engine.model.message import MapContext, Parsed
from engine.model.ports import Dialogue
from engine.processing.process import moment
from tests.support.shipped import facts_of

ZONE = "Asia/Kolkata"


def tubes(
    parsed: Parsed, codes: dict[str, str], said: Dialogue | None = None, **settings: object
) -> tuple[TubeResults, ...]:
    """Args: said: the dialogue. settings: of the channel."""
    context = MapContext(channel="analyzer", timezone=ZONE, settings=settings)
    known = measured(facts_of(parsed, context), parsed, context)
    return tubes_in(known, parsed, codes, moment=lambda found: moment(found, ZONE), dialogue=said)
