"""The routes of all pages."""

from collections.abc import Sequence

from engine.web.pages import (
    abdm,
    abdm_acts,
    abdm_consent,
    abdm_context,
    abdm_listed,
    acts,
    affected,
    alerts,
    analyzer,
    aside,
    codes,
    contents,
    copied,
    correct,
    dead_letters,
    destination,
    doing,
    edit,
    held,
    help,
    message,
    messages,
    operations,
    order,
    order_acts,
    orders,
    questions,
    replay,
    reports,
    shift,
    switching,
    system,
    todo,
    trying,
    waiting,
    worklists,
)
from engine.web.pages.frame import Frame
from engine.web.routes import Route

PAGES = (
    *(analyzer, destination, messages, message, dead_letters, held, codes, acts, system),
    *(doing, operations, switching, contents, copied, correct, edit, aside, replay, affected),
    *(shift, reports, todo, alerts, waiting, trying, help),
    *(orders, order, order_acts, questions, worklists),
    *(abdm, abdm_listed, abdm_context, abdm_consent, abdm_acts),
)


def pages_of(frame: Frame) -> Sequence[Route]:
    return [route for page in PAGES for route in page.routes(frame)]
