"""The routes of all pages."""

from collections.abc import Sequence

from engine.features.abdm.pages import abdm
from engine.features.abdm.pages import acts as abdm_acts
from engine.features.abdm.pages import consent as abdm_consent
from engine.features.abdm.pages import context as abdm_context
from engine.features.abdm.pages import listed as abdm_listed
from engine.features.alerts import pages as alerts
from engine.features.codes.pages import codes, correct
from engine.features.orders.pages import acts as order_acts
from engine.features.orders.pages import order, orders, questions, worklists
from engine.features.reports.pages import reports, shift
from engine.features.results.pages import held
from engine.features.rework.pages import affected, aside, copied, dead_letters, edit, operations, replay
from engine.features.todo.pages import todo
from engine.web.pages import (
    acts,
    analyzer,
    contents,
    destination,
    doing,
    help,
    message,
    messages,
    switching,
    system,
    trying,
    waiting,
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
