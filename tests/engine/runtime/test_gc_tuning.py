"""After a build, what stays is left alone and what is gone is given back."""

import gc
import os
import subprocess
import sys
import weakref
from pathlib import Path

from engine.model.message import Received
from engine.model.process.allocator import settle
from engine.receiving.large import LARGE_BYTES, prepared

MiB = 1024 * 1024


class Node:
    """Part of a configuration that refers to itself."""

    def __init__(self) -> None:
        self.itself = self


def test_what_was_built_is_not_walked_again_and_what_an_earlier_build_left_is_collected() -> None:
    try:
        earlier = Node()
        settle()
        assert gc.get_freeze_count() > 0
        gone = weakref.ref(earlier)
        del earlier
        gc.collect()
        assert gone() is not None  # frozen: out of the collector's sight
        settle()
        assert gone() is None
    finally:
        gc.freeze()  # as `tests/conftest.py` has it


def test_a_first_build_leaves_modules_alone() -> None:
    try:
        of_a_module = Node()
        gone = weakref.ref(of_a_module)
        gc.freeze()
        del of_a_module
        settle(first=True)
        assert gone() is not None
        assert gc.get_threshold()[0] > 10_000
    finally:
        gc.freeze()  # as `tests/conftest.py` has it


def test_no_garbage_is_looked_for_while_the_daemon_reads_its_modules(tmp_path: Path) -> None:
    """It would take an eighth of the start."""
    script = f"""
import atexit, gc, sys
from engine.__main__ import main
early = []
def note(phase, info):
    if phase == "start" and not hasattr(sys.modules.get("engine.runtime.app"), "App"):
        early.append(info["generation"])
gc.callbacks.append(note)
atexit.register(lambda: print(hasattr(sys.modules["engine.runtime.app"], "App"), early, gc.isenabled()))
sys.argv = ["labrelay", "--site", {str(tmp_path)!r}, "run"]
main()
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert ran.stdout == "True [] True\n", ran.stderr


async def test_holes_in_the_heap_are_given_back_before_a_large_message_is_stored() -> None:
    """Python leaves such holes where it compiles a mapping; the piece at the end keeps the heap from shrinking."""
    holes = [bytes(100_000) for _ in range(400)]
    end = bytes(100_000)
    before = _resident_bytes()
    del holes
    await prepared(Received(channel="big", payload=os.urandom(LARGE_BYTES + 1), received_us=0))
    assert _resident_bytes() < before - 20 * MiB
    assert len(end) == 100_000


def test_what_a_large_message_took_is_given_back_at_once() -> None:
    """Without a setting, a large block that was freed makes glibc put the next ones on the heap."""
    script = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[3])!r})
from engine.model.process.allocator import settle
from tests.engine.runtime.test_gc_tuning import MiB, _resident_bytes
settle()
bytes(30 * MiB)
before = _resident_bytes()
blocks, between = [], []
for _ in range(8):
    blocks.append(b"x" * 5 * MiB)
    between.append(bytes(100_000))
del blocks
print(_resident_bytes() - before < 5 * MiB)
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert ran.stdout == "True\n", ran.stderr


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
