"""Messages about documents that a destination does not take, although it takes others."""

from collections.abc import Iterable

from engine.delivery.worker import DestinationWorker
from engine.store.queries.letters import corrections_set_aside
from engine.store.queries.reader import Reader

ATTEMPTS_SAID = 10  # at one document, while others are taken
REFUSED_SAID = 5  # so many refusals among a destination's last answers: more than a few bad messages
SET_ASIDE_SAID = 5  # corrections that were set aside, each with an alarm of its own


def refusals(workers: Iterable[DestinationWorker]) -> list[str]:
    """A note for each destination that refuses many documents: a mapping or a server was changed."""
    return [
        f"{worker.name} refuses documents: {refused} of the last {len(worker.counts.refused)}; "
        f"labrelay dlq list --destination {worker.name} shows why"
        for worker in workers
        if (refused := sum(worker.counts.refused)) >= REFUSED_SAID
    ]


def in_words(workers: Iterable[DestinationWorker]) -> list[str]:
    """A note for each lane that waits for such a document."""
    return [
        f"{worker.name} takes others, and has not taken message {failure.message_id} of {lane.channel} in "
        f"{failure.attempt} attempts; labrelay dlq set-aside {failure.message_id} --destination {worker.name} lets "
        "those behind it go"
        for worker in workers
        for lane in worker.memory.lanes.values()
        if (failure := lane.failure) is not None
        and failure.attempt >= ATTEMPTS_SAID
        and worker.breaker.is_suspect(failure.delivery)
    ]


def set_aside(journal: Reader) -> list[str]:
    """An alarm for each correction or withdrawal that its destination lacks because a person set it aside."""
    letters = corrections_set_aside(journal, SET_ASIDE_SAID + 1)
    said = [
        f"A correction or withdrawal was set aside, and {one.destination} goes on showing what it was to replace: "
        f"message {one.message_id} of {one.channel}; labrelay dlq show {one.message_id}"
        for one in letters[:SET_ASIDE_SAID]
    ]
    if len(letters) > SET_ASIDE_SAID:
        said.append("More corrections or withdrawals were set aside: labrelay dlq list --code CORRECTION_SET_ASIDE")
    return said
