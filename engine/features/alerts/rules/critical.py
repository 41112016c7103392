"""What a message says of critical values: by what the judge decided of its results. Pure."""

from collections.abc import Collection
from typing import NamedTuple

from engine.succession.judge.memory import withdrawn, words_of
from engine.succession.judge.rejected import VALUE_AND_UNIT
from engine.succession.judge.words import Judgement, Memory, Ref, Said, Standing
from engine.succession.steps import GONE

_NO_WORD = frozenset({"echo", "again", "filtered", "dead", "finishes"})


class Word(NamedTuple):
    """What a message says of one result.

    Attributes:
        ref: of the result (`engine.succession.judge.words.Ref`). place: its own in the message; 0: none.
        critical: it is so; else it was, and is no more.
        echo: the message repeats it, and does not send it.
        repeats: messages with the same value, flags and time of it; of one that is critical no more, with the same
            value, for nothing says why its flag went.
    """

    ref: Ref
    place: int = 0
    critical: bool = True
    echo: bool = False
    repeats: tuple[int, ...] = ()


def words_in(message: int, critical: Collection[int], judgement: Judgement | None, memory: Memory) -> list[Word]:
    """What a message says, once all of it is sent.

    Args:
        critical: the places of its results that are. judgement: None: there is none.
        memory: what was in force before it.
    """
    if judgement is None:
        return [Word((message, place), place) for place in critical]
    standing = {result.ref: result for result in memory.standing}
    refs = words_of(judgement.decisions, judgement.said, standing) if standing else {}
    kinds = {decision.place: decision.kind for decision in judgement.decisions}
    words: dict[Ref, Word] = {}
    for place in critical:
        ref, kind = refs.get(place, (message, place)), kinds.get(place, "new")  # a picture is not judged
        if kind == "echo" or kind not in _NO_WORD:
            repeats = _repeated(judgement.said.get(place), standing.get(ref))
            words[ref] = Word(ref, place, echo=kind == "echo", repeats=repeats)
    words_of_message = [(refs[place], place) for place in refs if kinds[place] not in _NO_WORD]
    for ref, place in (*words_of_message, *((ref, 0) for ref in withdrawn(judgement))):
        if ref not in words and ref in standing and any(word.critical for word in standing[ref].words):
            words[ref] = Word(ref, place, critical=False, repeats=_unflagged(judgement.said.get(place), standing[ref]))
    return [*words.values()]


def _repeated(new: Said | None, result: Standing | None) -> tuple[int, ...]:
    if new is None or result is None or not new.stated:
        return ()
    content = new.version.content, new.stated
    return tuple(
        word.message for word in result.words if word.critical and (word.version.content, word.stated) == content
    )


def _unflagged(new: Said | None, result: Standing) -> tuple[int, ...]:
    if new is None or new.version.said in GONE:
        return ()
    number = new.content.what[VALUE_AND_UNIT]
    same = [word for word in result.words if word.content.what[VALUE_AND_UNIT] == number]
    return tuple(word.message for word in same if word.critical and (result.last in same or word.version.waits))
