"""The words of hold rules in the languages of the page (`says:`).

The journal keeps the words of ``reason:``. A rule that is another today has no other words for what it has held.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Protocol

from engine.model.journal.journal_views import DeadLetter

Says = Mapping[str, Mapping[str, str]]
"""The reason of a rule -> language -> the words in it."""


class Channel(Protocol):
    @property
    def says(self) -> Says: ...


def with_says(letters: Iterable[DeadLetter], channels: Mapping[str, Channel]) -> list[DeadLetter]:
    """Held results with their reasons in all languages that the rules of their channels have words in."""
    return [
        one._replace(says=said(one.detail, channels[one.channel].says)) if one.channel in channels else one
        for one in letters
    ]


def said(why: str, says: Says) -> dict[str, str]:
    """Language -> the reason with the rules' words in it; results that it names, and other reasons, stay."""
    known = {reason: words for reason, words in says.items() if reason in why}
    if not known:
        return {}
    named = "|".join(map(re.escape, sorted(known, key=len, reverse=True)))
    rule = re.compile(rf"(?:^|(?<=; ))({named})(?= \(|;|: cannot be decided|$)")
    found = {
        language: rule.sub(lambda hit, language=language: known[hit[1]].get(language, hit[1]), why)  # type: ignore[misc]
        for language in sorted({language for words in known.values() for language in words})
    }
    return {language: words for language, words in found.items() if words != why}
