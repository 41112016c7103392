"""What of orders waits for a person."""

from engine.features.orders.rows.order_questions import OrderTrouble, troubles
from engine.features.orders.rows.reflex import ReflexView, proposals
from engine.model.orders import item_id
from engine.model.process.clock import from_us
from engine.model.texts.phrases import PageText, Phrase
from engine.monitoring.snapshot.states import Level
from engine.monitoring.todo import Entry, Look, Way


async def entries(look: Look) -> list[Entry]:
    found = await look.read(lambda reader: troubles(reader, look.now_us, look.site.unsent_after_s))
    proposed = await look.read(lambda reader: proposals(reader, limit=1000)) or []
    return [*map(of_trouble, found or ()), *map(of_proposal, proposed)]


_REFLEXES: dict[str, PageText] = {
    "proposed": "{test} is proposed because of the result of {order} ({cause})",
    "unsure": "Whether {test} follows the result of {order} is for you to say ({cause})",
    "untrue": "{test} was ordered because of a result of {order} that is corrected now ({cause})",
}


def of_proposal(one: ReflexView) -> Entry:
    words = {"test": one.adds, "order": item_id(one.parent), "cause": one.test}
    step = f"labrelay orders confirm {one.id} --reason TEXT"
    if one.state == "untrue":
        step = f"labrelay orders show {item_id(one.item)}"
    return Entry(
        key=f"reflex/{one.id}/{one.state}",
        level=Level.ATTENTION,
        phrase=Phrase(_REFLEXES[one.state], words),
        step=step,
        way=Way("Decide: {n}", "/reflexes"),
        since=from_us(one.at_us),
        subject=one.channel,
    )


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
