"""Templates of folders: HTML is escaped, a line with a tag alone leaves none, a missing value is an error.

To compile all that a page needs takes 0.4 s of processor time, in which an analyzer waits for its ACK. So a template is
compiled once, and kept beside its file, as Python keeps a module: in `__pycache__`, where this process may write there.
The installer runs this file as a program: it compiles all.
"""

import os
import sys
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import jinja2
    from jinja2.bccache import Bucket

FORM = 1  # counted up where the settings of `templates` change: what was compiled with others is of no use
ENGINE = Path(__file__).parents[1]


def templates(*folders: Path) -> "jinja2.Environment":
    import jinja2

    return _environment()(
        loader=jinja2.FileSystemLoader(folders),
        autoescape=jinja2.select_autoescape(disabled_extensions=("txt",), default=True, default_for_string=True),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        bytecode_cache=_kept(),
        auto_reload=False,
    )


@cache
def _environment() -> "type[jinja2.Environment]":
    """Templates that call macros and read rows in four fifths of the library's time; a row's key comes before a
    method of the same name.
    """
    import jinja2
    from jinja2.runtime import Context, Macro

    class Direct(Context):
        def call(self, called: Any, *args: Any, **named: Any) -> Any:
            if type(called) is not Macro:
                return super().call(called, *args, **named)
            named.pop("_block_vars", None)
            named.pop("_loop_vars", None)
            return called(self.eval_ctx, *args, **named)

    class Rows(jinja2.Environment):
        context_class = Direct

        def getattr(self, of: Any, attribute: str) -> Any:
            return of[attribute] if type(of) is dict and attribute in of else super().getattr(of, attribute)

    return Rows


@cache
def _kept() -> "jinja2.BytecodeCache":
    import jinja2

    class Kept(jinja2.BytecodeCache):
        """A bucket's key is the path of its file. The library compares the source's digest."""

        ending = f".{sys.implementation.cache_tag}.jinja-{version('jinja2')}-{FORM}"

        def get_cache_key(self, name: str, filename: str | None = None) -> str:
            path = Path(filename or name)
            return f"{path.parent}/__pycache__/{path.name}{self.ending}"

        def load_bytecode(self, bucket: "Bucket") -> None:
            with suppress(OSError, EOFError, UnpicklingError), open(bucket.key, "rb") as file:
                bucket.load_bytecode(file)

        def dump_bytecode(self, bucket: "Bucket") -> None:
            if sys.dont_write_bytecode:
                return
            made = Path(f"{bucket.key}.{os.getpid()}")
            with suppress(OSError):  # a folder that only the installer writes in; a full disk
                made.parent.mkdir(exist_ok=True)
                made.write_bytes(bucket.bytecode_to_string())
                made.replace(bucket.key)
            with suppress(OSError):
                made.unlink(missing_ok=True)

    return Kept()


def _compile_all() -> None:
    for path in sorted(ENGINE.rglob("*.html")):
        folder = next((one for one in path.parents if one.name == "templates"), path.parent)
        templates(folder).get_template(str(path.relative_to(folder)))


if __name__ == "__main__":
    _compile_all()
