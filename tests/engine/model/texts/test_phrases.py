"""Sentences as the journal keeps them."""

import pytest

from engine.model.texts.phrases import Phrase, Span, unpacked

PHRASES = [
    Phrase("No backup"),
    Phrase("{name} {state}, {n} waiting", {"name": 'a "b" {c} தமிழ்', "state": Phrase("not reachable"), "n": 12}),
    Phrase("Still, for {age}: {what}", {"age": Span(61.5), "what": Phrase("{a}", {"a": Phrase("{b}", {"b": 0})})}),
    Phrase("{text}", {"text": '{"text": "x", "values": {}}'}),
]


@pytest.mark.parametrize("phrase", PHRASES)
def test_a_kept_sentence_is_the_same(phrase: Phrase) -> None:
    assert unpacked(phrase.packed()) == phrase


@pytest.mark.parametrize(
    "text", ["", "x", "[]", "7", "{}", '{"text": "x"}', '{"text": "x", "values": 7}', '{"seconds": 7}']
)
def test_a_text_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no phrase|Expecting value"):
        unpacked(text)
