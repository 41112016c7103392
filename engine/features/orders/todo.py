"""What of orders waits for a person."""

from engine.features.orders.rows.order_questions import OrderTrouble, troubles
from engine.model.process.clock import from_us
from engine.model.texts.phrases import PageText, Phrase
from engine.monitoring.snapshot.states import Level
from engine.monitoring.todo import Entry, Look, Way


async def entries(look: Look) -> list[Entry]:
    found = await look.read(lambda reader: troubles(reader, look.now_us, look.site.unsent_after_s))
    return [of_trouble(one) for one in found or ()]


# Kind of trouble -> words. A test that is refused or never sent is a result that does not come.
_ORDERS: dict[str, tuple[Level, PageText]] = {
    "refused": (Level.PROBLEM, "Orders that an analyzer refused: {n}"),
    "questions": (Level.ATTENTION, "Questions of analyzers without an answer: {n}"),
    "after_all": (Level.ATTENTION, "Orders that were given up, and measured all the same: {n}"),
    "late": (Level.ATTENTION, "Orders without a result for longer than usual: {n}"),
    "unsent": (Level.PROBLEM, "Orders that did not reach the analyzer: {n}"),
    "urgent": (Level.ATTENTION, "Urgent orders that no analyzer has: {n}"),  # the tube may be on its way
    "held": (Level.ATTENTION, "Orders that are held back: {n}"),
}


def of_trouble(one: OrderTrouble) -> Entry:
    level, text = _ORDERS[one.kind]
    step = f"labrelay orders list --tab {one.kind}"
    way = Way("Look at the orders: {n}", "/orders", {"tab": one.kind})
    if one.kind == "questions":
        step = "labrelay orders log --unanswered"
        way = Way("Look at the questions: {n}", "/questions", {"tab": one.kind})
    return Entry(
        key=f"orders-{one.kind}",
        level=level,
        phrase=Phrase(text, {"n": one.count}),
        step=step,
        way=way,
        count=one.count,
        since=from_us(one.oldest_us) if one.oldest_us else None,
    )
