"""Generated source: lines, slots for lines that are known later, constants, and what is known about each value.

No text of a user gets into the source: names, literals and paths are constants bound by number (``K7``), variables are
numbered by the compiler, and every line knows the rule it came from.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

from engine.mapping.compiler.source.registers import ordered, share_variables
from engine.model.errors import TooLargeError

USUAL_DEPTH = 60  # of indentation; Python takes 100 levels
USUAL_BLOCKS = 15  # loops and tries inside each other; Python takes 20
USUAL_BRACKETS = 60  # that a line opens; Python takes 200 inside each other
MAX_LINES = 40_000  # of one generated function; a larger one is a mapping that no one can read either

_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Kind:
    """What a value is.

    Attributes:
        name: ``absent``, ``text``, ``field``, ``segment``, ``decimal``, ``flag``, ``row``, ``measured``, ``any``,
            a FHIR primitive (``code``, ``date`` ...) or a FHIR data type.
        many: a list of such.
        columns: of a row: the columns that its tables have.
        codes: of a code: all that it can be, None where that is not known.
        table: of a row: the file of the table, for messages.
    """

    name: str
    many: bool = False
    columns: frozenset[str] = frozenset()
    codes: frozenset[str] | None = None
    table: str = field(default="", compare=False)

    def one(self) -> "Kind":
        return replace(self, many=False)

    def each(self) -> "Kind":
        return replace(self, many=True)

    def __str__(self) -> str:
        return f"a list of {self.name}" if self.many else self.name


ABSENT = Kind("absent")
TEXT = Kind("text")
FIELD = Kind("field")
SEGMENT = Kind("segment")
DECIMAL = Kind("decimal")
FLAG = Kind("flag")
REFERENCE = Kind("Reference")

TEXT_LIKE = frozenset(
    {
        *("text", "code", "string", "uri", "url", "canonical", "id", "oid", "uuid", "markdown", "base64Binary"),
        *("date", "dateTime", "instant", "time", "decimal"),
    }
)


class _Unknown:
    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Any = _Unknown()


@dataclass(frozen=True, slots=True)
class Val:
    """A compiled value: a Python expression that is cheap to repeat, and what is known of it.

    Attributes:
        code: a variable, a constant, or a simple expression of these.
        maybe: it may be None (absent).
        constant: its value where it is known when the mapping is loaded, else `UNKNOWN`.
    """

    code: str
    kind: Kind
    maybe: bool = True
    constant: Any = UNKNOWN

    @property
    def known(self) -> bool:
        return self.constant is not UNKNOWN

    @property
    def is_absent(self) -> bool:
        return self.kind.name == "absent"


NOTHING = Val("None", ABSENT, True, None)


@dataclass(slots=True)
class Line:
    indent: int
    text: str
    rule: str
    early: bool  # placed before its rule: it runs whether the rule does or not


class Slot:
    """A place in the source whose lines come later."""

    __slots__ = ("indent", "lines")

    def __init__(self, indent: int) -> None:
        self.indent = indent
        self.lines: list[Line | Slot] = []

    def gathered(self) -> list[Line]:
        """The lines in this place and in those inside it."""
        found: list[Line] = []
        for line in self.lines:
            if isinstance(line, Slot):
                found += line.gathered()
            else:
                found.append(line)
        return found


@dataclass(slots=True)
class Function:
    """A function beside the main one: its name, its parameters as source, and its lines."""

    name: str
    parameters: str
    lines: Slot


class Code:
    """Source under construction.

    Attributes:
        rule: ``lab.yaml:31``, given to the lines that are written.
        available: keys of values that are computed on every way to this point of the same iteration.
        maybe: keys of values that are computed on some way to this point.
        loop: how many loops surround this point.
        usual: nothing in it comes near Python's limits of nesting: it is certain that it can be compiled.
    """

    def __init__(self) -> None:
        self._main = Slot(1)
        self._functions: list[Function] = []
        self._into = self._main
        self._indent = 1
        self._early = False
        self._count = 0
        self._lines = 0
        self._constants: dict[tuple[type, Any], str] = {}
        self._by_identity: dict[int, str] = {}
        self.bound: dict[str, Any] = {}
        self.rule = ""
        self.available: set[Any] = set()
        self.maybe: set[Any] = set()
        self.loop = 0
        self.usual = True
        self._blocks = 0

    def new(self, prefix: str = "t") -> str:
        """A variable of its own."""
        self._count += 1
        return f"{prefix}{self._count}"

    def emit(self, text: str) -> None:
        self._lines += 1
        if self._lines > MAX_LINES:
            raise TooLargeError
        if self._indent > USUAL_DEPTH or text.count("(") > USUAL_BRACKETS or text.count("[") > USUAL_BRACKETS:
            self.usual = False
        self._into.lines.append(Line(self._indent, text, self.rule, self._early))

    def slot(self) -> Slot:
        """Keep a place here."""
        made = Slot(self._indent)
        self._into.lines.append(made)
        return made

    @contextmanager
    def into(self, slot: Slot) -> Iterator[None]:
        """Write into a place kept before."""
        before = self._into, self._indent, self._early
        self._into, self._indent, self._early = slot, slot.indent, True
        yield
        self._into, self._indent, self._early = before

    @contextmanager
    def function(self, name: str, parameters: str) -> Iterator[Function]:
        """Write a function of its own. It sees its parameters and what is bound, and nothing computed elsewhere."""
        made = Function(name, parameters, Slot(1))
        self._functions.append(made)
        before = self._into, self._indent, self._early, self.available, self.maybe
        self._into, self._indent, self._early, self.available, self.maybe = made.lines, 1, False, set(), set()
        yield made
        self._into, self._indent, self._early, self.available, self.maybe = before

    def drop(self, function: Function) -> None:
        """There is nothing that it would have to compute."""
        self._functions.remove(function)

    @property
    def size(self) -> int:
        """How much was written; two equal sizes mean that nothing came between."""
        return self._lines

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        """A block that may not be run: what it computes is only maybe available behind it."""
        self.emit(head)
        self._indent += 1
        blocks = self._blocks
        if head.startswith(("for ", "try:")):
            self._blocks += 1
            self.usual = self.usual and self._blocks <= USUAL_BLOCKS
        before = self.available
        self.available = set(before)
        mark = self._lines
        yield
        if self._lines == mark:
            self.emit("pass")
        self._indent -= 1
        self._blocks = blocks
        self.maybe |= self.available - before
        self.available = before

    @contextmanager
    def aside(self) -> Iterator[Slot]:
        """Lines of a block whose head is not written yet; see `place`."""
        slot = Slot(self._indent + 1)
        before, available = (self._into, self._indent), self.available
        self._into, self._indent, self.available = slot, slot.indent, set(available)
        yield slot
        self._into, self._indent = before
        self.maybe |= self.available - available
        self.available = available

    def place(self, head: str, slot: Slot) -> None:
        """Write the head of a block and the lines that `aside` kept for it."""
        self.emit(head)
        self._into.lines.append(slot)

    @contextmanager
    def loop_over(self, head: str) -> Iterator[None]:
        self.loop += 1
        with self.block(head):
            yield
        self.loop -= 1

    @contextmanager
    def trying(self) -> Iterator[None]:
        """A try: block; its except: is written by the caller. What it computes is not available behind it."""
        with self.block("try:"):
            yield

    def constant(self, value: Any) -> str:
        """The name under which the source finds a value."""
        if value is None or value is True or value is False:
            return repr(value)
        try:
            key = (type(value), value)
            name = self._constants.get(key)
            if name is None:
                name = self._constants[key] = f"K{len(self.bound)}"
                self.bound[name] = value
            return name
        except TypeError:  # not hashable: the same object is the same constant
            name = self._by_identity.get(id(value), "")
            if not name:
                name = self._by_identity[id(value)] = f"K{len(self.bound)}"
                self.bound[name] = value
            return name

    def literal(self, value: Any, kind: Kind) -> Val:
        """A value known now."""
        return Val(self.constant(value), kind, value is None, value)

    def source(self, name: str, arguments: str, prologue: str) -> "Source":
        """All functions.

        Args:
            name, arguments: of the main function, which comes first.
            prologue: lines at the start of a function, as far as it needs them.
        """
        main = self._main.gathered()
        text = "\n".join([line.text for line in main])  # long: its words are not counted
        said = [line for line in prologue.splitlines() if line.partition(" = ")[0].strip() in text]
        functions = [_Written(f"def {name}({arguments}):", said, main)]
        for function in self._functions:
            head, lines = f"def {function.name}({function.parameters}):", function.lines.gathered()
            functions.append(_Written(head, _needed(prologue, lines), lines))
        return Source(functions)


@dataclass(frozen=True, slots=True)
class _Written:
    """One function as it was generated: its head, the lines of its prologue, and its own."""

    head: str
    prologue: list[str]
    lines: list[Line]


class Source:
    """The source of generated functions, and facts about each of its lines, which are numbered from 1.

    Attributes:
        rules: the rule of each line.
        telling: 1 for each line that shows that its rule ran, else 0.
    """

    def __init__(self, functions: list[_Written]) -> None:
        self._functions = functions
        self.rules: list[str] = []
        self.telling = bytearray()
        for function in functions:
            ours = 2 + len(function.prologue)  # its head, and the line that orders its names
            self.rules += [""] * ours
            self.rules += [line.rule for line in function.lines]
            self.telling += bytes(ours)
            self.telling += bytes(bool(line.rule) and not line.early for line in function.lines)

    def digest(self) -> bytes:
        """SHA-256 over all that the text is made of; takes a thirtieth of the time that the text takes."""
        state = sha256()
        for function in self._functions:
            lines = (f"{line.indent} {line.text}" for line in function.lines)
            state.update("\n".join((function.head, *function.prologue, *lines, "")).encode())
        return state.digest()

    def text(self) -> str:
        """The source, with as few variables as it needs."""
        texts: list[str] = []
        for function in self._functions:
            lines = [(line.indent, line.text) for line in function.lines]
            head, *shared = share_variables([(0, function.head), *lines])
            body = [(indent, text) for (indent, _), text in zip(lines, shared, strict=True)]
            first = ordered(body, {line.partition(" = ")[0].strip() for line in function.prologue})
            texts += [head, first, *function.prologue, *(" " * indent + text for indent, text in body)]
        return "\n".join(texts) + "\n"


def _needed(prologue: str, lines: list[Line]) -> list[str]:
    """The lines of the prologue whose names a function uses."""
    words = {word for line in lines for word in _WORD.findall(line.text)}
    return [line for line in prologue.splitlines() if line.partition(" = ")[0].strip() in words]
