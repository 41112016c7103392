"""Few variables and fast constants for generated functions.

CPython numbers the variables, names and constants of a function with one byte; from the 257th on every access takes a
second instruction, and the interpreter does not specialise what follows it. A mapping of a few hundred lines has a
thousand variables, most of which live for a line or two. So variables whose lives do not overlap share a name here,
and constants become constants of the code object instead of global names. Together that is a third of the time.

Those that are left over 256 are the ones that are named least: `ordered` lets Python number them by their use in loops.

A life reaches from the first line that names a variable to the last. Where a variable is named both inside and outside
of a loop, it reaches over the whole loop: its value may be needed in the next round.
"""

import keyword
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from types import CodeType, FunctionType
from typing import Any

_VARIABLE = re.compile(r"\b[a-z]\d+\b")
_SHARED = re.compile(r"x\d+")
_CONSTANT = re.compile(r"\b(?:K\d+|UNSET)\b")  # UNSET is asked for in every second line
_TEXT = re.compile(r"""'[^'\n]*'|"[^"\n]*\"""")
_NAME = re.compile(r"(?<![.\w])[A-Za-z_]\w*(?!\w*=[^=])")  # no attribute, no name of an argument
_ROUNDS = 8  # how often a loop is run, more or less
_MARK = "\0"  # marks a text that is replaced by a constant; no text of ours holds it


def share_variables(lines: list[tuple[int, str]]) -> list[str]:
    """The same lines with as few variables as their lives allow.

    Args:
        lines: (depth of indentation, text), as generated: variables are one letter and a number.
    """
    lives: dict[str, list[int]] = {}
    for number, (_, text) in enumerate(lines):
        for name in _VARIABLE.findall(text):
            life = lives.setdefault(name, [number, number])
            life[1] = number
    for start, end in _loops(lines):
        for life in lives.values():
            inside_and_before = life[0] < start <= life[1]
            inside_and_after = start <= life[0] <= end < life[1]
            if inside_and_before or inside_and_after:
                life[0], life[1] = min(life[0], start), max(life[1], end)
    names = _assign(lives)
    return [_VARIABLE.sub(lambda match: names[match[0]], text) for _, text in lines]


def ordered(lines: list[tuple[int, str]], own: Collection[str]) -> str:
    """A line for the start of a function that is never run: Python numbers what it names first, and keeps that order.

    Args:
        lines: (depth of indentation, text) of the function.
        own: its variables that no line here sets.
    """
    uses: Counter[str] = Counter()
    around: list[int] = []
    for depth, text in lines:
        while around and depth <= around[-1]:
            around.pop()
        if text.startswith("for "):
            around.append(depth)
        for name in _NAME.findall(_TEXT.sub("", text)):
            uses[name] += _ROUNDS ** len(around)
    names = [name for name, _ in uses.most_common() if not keyword.iskeyword(name) and not _CONSTANT.fullmatch(name)]
    variables = [name for name in names if name in own or _SHARED.fullmatch(name)]
    others = [name for name in names if name not in variables]
    return f" if 0: {' = '.join([*variables, ''])}root({', '.join(others)})"


def _loops(lines: list[tuple[int, str]]) -> list[tuple[int, int]]:
    """First and last line of every loop, inner loops first."""
    found = []
    for start, (depth, text) in enumerate(lines):
        if text.startswith("for "):
            end = start
            while end + 1 < len(lines) and lines[end + 1][0] > depth:
                end += 1
            found.append((start, end))
    return sorted(found, key=lambda loop: loop[1] - loop[0])


def _assign(lives: Mapping[str, list[int]]) -> dict[str, str]:
    """Names for lives: one that is free again is used before a new one."""
    names: dict[str, str] = {}
    free: list[str] = []
    living: list[tuple[int, str]] = []
    for variable, (first, last) in sorted(lives.items(), key=lambda item: item[1][0]):
        for over in [one for one in living if one[0] < first]:
            living.remove(over)
            free.append(over[1])
        name = free.pop() if free else f"x{len(names) and len(set(names.values()))}"
        names[variable] = name
        living.append((last, name))
    return names


def marked(source: str) -> str:
    """The same source with a text in place of each constant; what is compiled of it has no value of a mapping in it."""
    return _CONSTANT.sub(lambda match: repr(_MARK + match[0]), source)


def function_of(codes: Iterable[CodeType], name: str, bound: dict[str, Any], constants: Mapping[str, Any]) -> Any:
    """The function called ``name`` of compiled `marked` source, with ``constants`` in its code and ``bound`` as its
    globals.

    The other functions are made as well, and put into ``bound``.
    """
    for code in codes:
        bound[code.co_name] = FunctionType(_filled(code, constants), bound, code.co_name)
    return bound.pop(name)


def _filled(code: CodeType, constants: Mapping[str, Any]) -> CodeType:
    def fill(value: Any) -> Any:
        if isinstance(value, str) and value.startswith(_MARK):
            return constants[value[1:]]
        if isinstance(value, tuple):
            return tuple(map(fill, value))
        return _filled(value, constants) if isinstance(value, CodeType) else value

    return code.replace(co_consts=tuple(map(fill, code.co_consts)))
