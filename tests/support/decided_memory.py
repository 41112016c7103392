"""What the judge remembers once a person has decided, without a journal: there it is read anew from what stands."""

from collections.abc import Callable

from engine.succession.judge.rejected import Content
from engine.succession.judge.words import Memory, Said
from engine.succession.steps import WITHDRAWN


def released(memory: Memory, message: int) -> Memory:
    """A person lets a held message go: its words are what receivers have."""
    return _with_words(memory, lambda word: _sent(word) if word.message == message else word)


def rejected(memory: Memory, message: int) -> Memory:
    """A person refuses a message: its words are valid no more, and their content is not believed again.

    A refused withdrawal says nothing against the result that it would have withdrawn.
    """
    words = [word for result in memory.standing for word in result.words if word.message == message]
    refused = frozenset(word.content for word in words if word.version.said != WITHDRAWN)
    return _with_words(memory, lambda word: None if word.message == message else word, refused)


def _with_words(
    memory: Memory, changed: Callable[[Said], Said | None], refused: frozenset[Content] = frozenset()
) -> Memory:
    standing = (
        result._replace(words=tuple(word for word in map(changed, result.words) if word is not None))
        for result in memory.standing
    )
    return Memory(tuple(result for result in standing if result.words), memory.refused | refused)


def _sent(word: Said) -> Said:
    return word._replace(doubt="", version=word.version._replace(waits=False))
