"""The to-do list of what tests say that there is."""

from collections.abc import Callable, Sequence

from engine.features.abdm.rows.reading import RefusedCallbacks, Undecided
from engine.features.abdm.rules.account import account_of
from engine.features.abdm.todo import of_callbacks, of_fault, of_undecided
from engine.features.alerts.rows.reading import CriticalValue, FailingSink
from engine.features.alerts.todo import of_critical_value, of_sink
from engine.features.codes.todo import of_gaps
from engine.features.events.rows import FailingWebhook
from engine.features.events.todo import of_webhook
from engine.features.orders.rows.order_questions import OrderTrouble
from engine.features.orders.todo import of_trouble
from engine.features.rework.todo import of_letters
from engine.features.todo import rules
from engine.monitoring.snapshot.site import SiteSnapshot
from engine.monitoring.todo import Entry
from engine.store.operations.dead_letters import Group
from engine.store.queries.tallies import ChannelGaps


def entries(
    site: SiteSnapshot,
    letters: Sequence[Group] | None = (),
    gaps: Sequence[ChannelGaps] | None = (),
    token: Callable[[str], str] = str,
    orders: Sequence[OrderTrouble] = (),
    callbacks: Sequence[RefusedCallbacks] = (),
    persons: Sequence[Undecided] = (),
    criticals: Sequence[CriticalValue] = (),
    sinks: Sequence[FailingSink] = (),
    webhooks: Sequence[FailingWebhook] = (),
) -> list[Entry]:
    account = account_of(site)
    more = [
        *of_letters(site, letters, token),
        *of_gaps(site, gaps),
        *map(of_fault, account.faults if account is not None else ()),
        *map(of_trouble, orders),
        *map(of_callbacks, callbacks),
        *map(of_undecided, persons),
        *map(of_critical_value, criticals),
        *map(of_sink, sinks),
        *map(of_webhook, webhooks),
    ]
    return rules.entries(site, more)
