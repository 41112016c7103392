"""Texts for people, kept apart from the values in them so that a page can show them in another language.

A `Phrase` is an English sentence with named gaps and what fills them. The English sentence is also the key under which
a catalogue finds its translation, as with gettext. Codes, names, units and ids fill gaps and are never translated;
a length of time is filled in as `Span` and gets the reader's own words.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

Texts = TypeVar("Texts")
PageText = str
"""A text in English that a page can say: each catalogue has it. In the type of a constant, a table or a field."""
Refusal = str
"""One that a page says as a sentence: each catalogue has it with a capital and a stop."""
Catalogue = Callable[[str], str]
"""The translation of an English text; the text itself where there is none."""
ENGLISH: Catalogue = str


def N_(texts: Texts) -> Texts:  # noqa: N802 - as gettext calls it
    """Mark a `PageText`, or several, where no type can say so."""
    return texts


def R_(texts: Texts) -> Texts:  # noqa: N802
    """Mark a `Refusal`."""
    return texts


SPANS = N_(("{n} s", "{n} min", "{n} h", "{n} h {m} min", "{n} d", "{n} d {m} h"))


@dataclass(frozen=True, slots=True)
class Span:
    """A length of time in seconds, to be said with two units at most: ``47 min``, ``3 h 5 min``, ``2 d 4 h``."""

    seconds: float

    def say(self, catalogue: Catalogue = ENGLISH) -> str:
        """The span in words; a negative one (a clock was set back) counts as nothing."""
        seconds = max(0, int(self.seconds))
        if seconds < 60:
            return _fill(catalogue, "{n} s", {"n": seconds})
        if seconds < 3600:
            return _fill(catalogue, "{n} min", {"n": seconds // 60})
        hours, minutes = seconds // 3600, seconds % 3600 // 60
        if hours < 24:
            return _fill(catalogue, "{n} h {m} min" if minutes else "{n} h", {"n": hours, "m": minutes})
        days, hours = divmod(hours, 24)
        return _fill(catalogue, "{n} d {m} h" if hours else "{n} d", {"n": days, "m": hours})


@dataclass(frozen=True, slots=True)
class Phrase:
    """A sentence with named gaps.

    Attributes:
        text: English, with ``{name}`` where a value goes; the key of its translations.
        values: the values for the gaps; another phrase or a span is written in the same language.
    """

    text: str
    values: Mapping[str, "str | int | Span | Phrase"] = field(default_factory=dict)

    def say(self, catalogue: Catalogue = ENGLISH) -> str:
        """The sentence in the language of ``catalogue``, in English where that has none."""
        said = {
            name: value.say(catalogue) if isinstance(value, (Phrase, Span)) else value
            for name, value in self.values.items()
        }
        return _fill(catalogue, self.text, said)

    def __str__(self) -> str:
        return self.say()

    def packed(self) -> str:
        """The sentence as a text that a journal keeps; see `unpacked`."""
        return json.dumps(_plain(self), ensure_ascii=False)


def unpacked(text: str) -> Phrase:
    """The sentence that `Phrase.packed` made a text of.

    Raises:
        ValueError: it is no such text.
    """
    try:
        made = _whole(json.loads(text))
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError("no phrase") from error
    if not isinstance(made, Phrase):
        raise ValueError("no phrase")
    return made


class Said(str):
    """A phrase as its English sentence, for all that shows a plain text; a page can say it in another language.

    Attributes:
        phrase: the sentence with its gaps.
    """

    phrase: Phrase

    def __new__(cls, text: str, /, **values: "str | int | Span | Phrase") -> "Said":
        return Said.of(Phrase(text, values))

    @staticmethod
    def of(phrase: Phrase) -> "Said":
        made = str.__new__(Said, phrase.say())
        made.phrase = phrase
        return made


def phrase_of(text: str) -> Phrase:
    """What a text says, for a page; a plain one is the same in all languages."""
    return text.phrase if isinstance(text, Said) else Phrase("{text}", {"text": text})


def _plain(value: "str | int | Span | Phrase") -> Any:
    if isinstance(value, Phrase):
        return {"text": value.text, "values": {name: _plain(one) for name, one in value.values.items()}}
    return {"seconds": value.seconds} if isinstance(value, Span) else value


def _whole(value: Any) -> "str | int | Span | Phrase":
    if not isinstance(value, dict):
        return value  # type: ignore[no-any-return]  # a text or a number
    if "seconds" in value:
        return Span(value["seconds"])
    return Phrase(value["text"], {name: _whole(one) for name, one in value["values"].items()})


def _fill(catalogue: Catalogue, text: str, values: Mapping[str, object]) -> str:
    return catalogue(text).format_map(values)
