"""Whether a trace explains a document to the last leaf."""

from collections.abc import Iterator
from typing import Any

from engine.mapping.explanations.explaining import ENVELOPE
from engine.mapping.explanations.trace import Trace
from engine.mapping.values.json_text import as_text


def at(document: Any, pointer: str) -> str:
    for step in pointer.split("/")[1:]:
        document = document[int(step)] if isinstance(document, list) else document[step]
    assert isinstance(document, str)
    return document


def leaf_pointers(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaf_pointers(inner, f"{path}/{name}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from leaf_pointers(inner, f"{path}/{number}")
    else:
        yield path


def assert_whole(trace: Trace) -> None:
    """Every leaf of the document is explained once, at its place, by somebody."""
    assert trace.mapped is not None
    for document in trace.mapped.documents:
        tree = as_text(document.body)
        assert sorted(leaf.pointer for leaf in trace.leaves) == sorted(leaf_pointers(tree))
        for leaf in trace.leaves:
            assert leaf.value == at(tree, leaf.pointer), leaf.path
            if leaf.origin == ENVELOPE:
                assert leaf.about, f"{leaf.path}: made by nobody"
            else:
                assert leaf.rule.partition(":")[2].isdigit(), leaf.path
            if leaf.path.endswith(".reference"):
                assert leaf.about, f"{leaf.path} names nothing"
