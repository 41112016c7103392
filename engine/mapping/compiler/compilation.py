"""Python's compiler, for generated source: called here, or in a process of its own that runs this file.

    python compilation.py FILE VERSION   source on its standard input -> the code, as `marshal` writes it, on its output

VERSION is `sys.version` of the Python that the code is for. Another one refuses: an update of the system may replace
Python below a running process, which the code of the new one would make crash.

For the code of one large mapping the compiler takes 25 MiB, which a process does not get rid of again, and 100 ms in
which no other thread runs. A process of its own takes both with it. It needs nothing of ours but this file.
"""

import marshal
import sys
import warnings
from types import CodeType

_DEF = "def "
_BETWEEN = f"\n{_DEF}"


def compiled(source: str, file: str) -> tuple[CodeType, ...]:
    """The code of each function of a module that has functions alone.

    One after the other: the compiler takes a third more memory for all of them at once.

    Raises:
        SyntaxError, RecursionError, MemoryError: it is nested too deeply.
    """
    functions: list[CodeType] = []
    lines = 0  # before the function; a line of its code has the number that it has in the source
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # "a text is not callable": by then it is a function
        for text in source.split(_BETWEEN):
            module = compile("\n" * lines + (_DEF if lines else "") + text, file, "exec")
            functions += [one for one in module.co_consts if isinstance(one, CodeType)]
            lines += text.count("\n") + 1
    return tuple(functions)


if __name__ == "__main__":
    if sys.argv[2] != sys.version:
        sys.exit("the code is for another Python")
    sys.stdout.buffer.write(marshal.dumps(compiled(sys.stdin.buffer.read().decode(), sys.argv[1])))
