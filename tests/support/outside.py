"""While a test runs, its process opens nothing beside the repository, unless a marker says so, or its module has
`tests/support/corpus.py` at hand.

`tests/test_nothing_outside.py` reads paths in the text; a path that a test makes while it runs is found here. Not seen
are children, and questions whether a file is there. A folder for temporary files beside the repository is no fault.
"""

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
LOOKED_AT = frozenset({"open", "os.listdir", "os.scandir"})
MARKERS = ("corpus", "reference")
ONE_PLACE = "tests.support.corpus"


class OutsideError(AssertionError):
    """A test opens a file that is beside the repository."""


def _by_the_one_place(item: pytest.Item) -> bool:
    """Whether the test's module gets files of the corpus from the module that knows where they are, if they are."""
    names = vars(getattr(item, "module", None) or object).values()
    return any(getattr(one, "__module__", "") == ONE_PLACE for one in names)


class OpensNothingOutside:
    def __init__(self, root: Path = ROOT, temporary: str | None = None) -> None:
        """
        Args:
            root: of the repository. Looked at is the folder that it lies in.
            temporary: a folder that tests may use. None: the system's.
        """
        self._beside = f"{str(root.parent).rstrip(os.sep)}{os.sep}"
        allowed = (str(Path(temporary or tempfile.gettempdir()).resolve()), sys.prefix, sys.base_prefix)
        # A hidden file beside it is another program's.
        within = (one for one in allowed if f"{one}{os.sep}".startswith(self._beside))
        self._within = (f"{root}{os.sep}", f"{self._beside}.", *(f"{one}{os.sep}" for one in within))
        self._test = ""  # under way, and not allowed to

    def install(self) -> None:
        """For as long as the process lives: a hook cannot be taken out."""
        if self._beside != os.sep:  # beside a repository at the top is the whole system
            sys.addaudithook(self.look)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Any:
        allowed = any(item.get_closest_marker(one) for one in MARKERS) or _by_the_one_place(item)
        self._test = "" if allowed else item.nodeid
        try:
            return (yield)
        finally:
            self._test = ""

    def look(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Raises:
        OutsideError: the path lies beside the repository, and a test is under way that has no marker for it.
        """
        if not self._test or event not in LOOKED_AT or not isinstance(arguments[0], str | bytes | os.PathLike):
            return
        path = os.fsdecode(arguments[0])
        if ".." in path:
            path = os.path.normpath(Path.cwd() / path)
        if path.startswith(self._beside) and not f"{path}{os.sep}".startswith(self._within):
            raise OutsideError(
                f"{self._test} opens {path}, which is not in the repository: use tests/support/corpus.py"
            )
