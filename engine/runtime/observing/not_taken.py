"""Messages about documents that a destination does not take, although it takes others."""

from collections.abc import Iterable

from engine.delivery.worker import DestinationWorker
from engine.model.texts.phrases import Said
from engine.store.queries.letters import corrections_set_aside
from engine.store.queries.reader import Reader

ATTEMPTS_SAID = 10  # at one document, while others are taken
REFUSED_SAID = 5  # so many refusals among a destination's last answers: more than a few bad messages
SET_ASIDE_SAID = 5  # corrections that were set aside, each with an alarm of its own


def refusals(workers: Iterable[DestinationWorker]) -> list[str]:
    """A note for each destination that refuses many documents: a mapping or a server was changed."""
    return [
        Said(
            "{name} refuses documents: {n} of the last {m}; labrelay dlq list --destination {name} shows why",
            name=worker.name,
            n=refused,
            m=len(worker.counts.refused),
        )
        for worker in workers
        if (refused := sum(worker.counts.refused)) >= REFUSED_SAID
    ]


def in_words(workers: Iterable[DestinationWorker]) -> list[str]:
    """A note for each lane that waits for such a document."""
    return [
        Said(
            "{name} takes others, and has not taken message {message} of {channel} in {n} attempts; "
            "labrelay dlq set-aside {message} --destination {name} lets those behind it go",
            name=worker.name,
            message=failure.message_id,
            channel=lane.channel,
            n=failure.attempt,
        )
        for worker in workers
        for lane in worker.memory.lanes.values()
        if (failure := lane.failure) is not None
        and failure.attempt >= ATTEMPTS_SAID
        and worker.breaker.is_suspect(failure.delivery)
    ]


def set_aside(journal: Reader) -> list[str]:
    """An alarm for each correction or withdrawal that its destination lacks because a person set it aside."""
    letters = corrections_set_aside(journal, SET_ASIDE_SAID + 1)
    said: list[str] = [
        Said(
            "A correction or withdrawal was set aside, and {name} goes on showing what it was to replace: "
            "message {message} of {channel}; labrelay dlq show {message}",
            name=one.destination,
            message=one.message_id,
            channel=one.channel,
        )
        for one in letters[:SET_ASIDE_SAID]
    ]
    if len(letters) > SET_ASIDE_SAID:
        said.append(
            Said("More corrections or withdrawals were set aside: labrelay dlq list --code CORRECTION_SET_ASIDE")
        )
    return said
