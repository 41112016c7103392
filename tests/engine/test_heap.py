"""After a build, what stays is left alone and what is gone is given back."""

import gc
import weakref

from engine import heap


class Node:
    """Part of a configuration that refers to itself."""

    def __init__(self) -> None:
        self.itself = self


def test_what_was_built_is_not_walked_again_and_what_an_earlier_build_left_is_collected() -> None:
    try:
        earlier = Node()
        heap.settle()
        assert gc.get_freeze_count() > 0
        gone = weakref.ref(earlier)
        del earlier
        gc.collect()
        assert gone() is not None  # frozen: out of the collector's sight
        heap.settle()
        assert gone() is None
    finally:
        gc.unfreeze()
