"""Settings of a channel that a text names in backticks with the value that would do: `specimen: O-4.2`."""

import re
from collections.abc import Sequence

from engine.model.texts.phrases import Phrase

PATTERN = r"`[a-z]\w*: [^`]+`"
_NAMED = re.compile(PATTERN, re.ASCII)


def settings_in(text: str) -> tuple[str, ...]:
    """The settings that a text names, as a channel file has them; each once."""
    return tuple(dict.fromkeys(named[1:-1] for named in _NAMED.findall(text)))


def to_write(words: Phrase, settings: Sequence[str]) -> Phrase:
    """What is the matter, and the settings of which one is to be written, where there are some."""
    if not settings:
        return words
    return Phrase(
        "{notice}. Write under settings of the channel what is right: {settings}",
        {"notice": words, "settings": "; ".join(settings)},
    )
