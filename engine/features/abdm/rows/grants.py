"""The artefacts of a consent, read from its grants as they are kept."""

from collections.abc import Iterator
from functools import lru_cache

from engine.config import registry
from engine.features.abdm.config.adapters import ABDM
from engine.features.abdm.rows.consents import KeptConsent
from engine.features.abdm.rules.consents import Artefact, Notice
from engine.model.errors import ContentError

MOST_KEPT = 256  # grants as they were read: a request for records looks at its grant five times
MOST_CHARACTERS = 16 * 1024  # of one that is kept so


def grants(kept: KeptConsent | None) -> list[str]:
    """Its grants as they came, each another one; none: no grant has come, or they were deleted."""
    return list(kept.content or ()) if kept is not None else []


def artefacts(kept: KeptConsent) -> Iterator[Artefact]:
    """Of its grants, the first one first."""
    for text in grants(kept):
        artefact = _kept(text) if len(text) <= MOST_CHARACTERS else _artefact(text)
        if artefact is not None:
            yield artefact


def _artefact(text: str) -> Artefact | None:
    """None: it cannot be read, as one that was kept by a release that read more."""
    try:
        notice: Notice = registry.load(ABDM, "consents").read_notice(text.encode())
    except ContentError:
        return None
    return notice.artefact


_kept = lru_cache(MOST_KEPT)(_artefact)
