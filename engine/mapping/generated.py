"""The generated function of one structure: checked source first, code that runs later."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Any

from engine.mapping.compiler.compilation import compiled
from engine.mapping.compiler.source.code import Source
from engine.mapping.compiler.source.registers import function_of, marked
from engine.mapping.message.message_context import GENERATED
from engine.mapping.message.runtime import BOUND

NAME = "mapping"  # of the main function
# Segments that frame a message or describe it, and are read by the engine if by anyone.
FRAMING = frozenset({"MSH", "SFT", "UAC", "EVN", "DSC", "H", "L"})


@dataclass(frozen=True, slots=True)
class CompiledFunction:
    """Code that can run: the function made for one structure, and the rule of each of its lines.

    Attributes:
        source: as it was compiled; empty where the code came from elsewhere.
        countable: 1 for each line whose running shows that its rule ran, else 0.
    """

    function: Callable[..., None]
    rules: list[str]
    source: str
    countable: bytes

    def ran(self, lines: Collection[int]) -> Iterator[str]:
        """The rules that ran where these lines ran."""
        for number, (rule, counts) in enumerate(zip(self.rules, self.countable, strict=True), 1):
            if counts and number in lines:
                yield rule


@dataclass(frozen=True, slots=True)
class Uncompiled:
    """Source that Python has not compiled, and the constants that belong into the code.

    Only numbers and our own words are in the source. A constant is a name there, so code that was compiled of the same
    source at another time fits.
    """

    source: Source
    constants: Mapping[str, Any]

    def text(self) -> str:
        """The source to be compiled as the file `GENERATED`."""
        return marked(self.source.text())

    def filled(self, codes: Iterable[CodeType], source: str = "") -> CompiledFunction:
        """The function of the compiled `text`, of whose functions these are the codes."""
        function = function_of(codes, NAME, dict(BOUND), self.constants)
        return CompiledFunction(function, self.source.rules, source, bytes(self.source.telling))

    def compiled(self) -> CompiledFunction:
        """
        Raises:
            SyntaxError, RecursionError, MemoryError: it is nested too deeply.
        """
        source = self.source.text()
        return self.filled(compiled(marked(source), GENERATED), source)


class Generated:
    """The generated and checked code for one structure. Python compiles it on first use: a command has mappings for
    messages that it never sees, and compiling their code takes more time than checking it. A running site brings the
    code before its first message (`engine.runtime.compiled_code`).

    Attributes:
        uncompiled: None once there is code.
        read: names of the segments that rules read.
        repetitions: segment -> (field, how many of its repetitions rules read), of fields that are not read whole.
    """

    __slots__ = ("_made", "_rules_at", "read", "repetitions", "uncompiled")

    def __init__(
        self, uncompiled: Uncompiled, read: frozenset[str], repetitions: dict[tuple[str, int], int] | None = None
    ) -> None:
        self.uncompiled: Uncompiled | None = uncompiled
        self._made: CompiledFunction | None = None
        self._rules_at: dict[tuple[int, int], str] = {}  # code and instruction that gave a warning -> its rule
        self.read = read
        self.repetitions: dict[str, list[tuple[int, int]]] = {}
        for (segment, number), most in sorted((repetitions or {}).items()):
            if most and segment not in FRAMING:
                self.repetitions.setdefault(segment, []).append((number, most))

    @property
    def made(self) -> CompiledFunction:
        if self._made is None:
            assert self.uncompiled is not None
            self.take(self.uncompiled.compiled())
            assert self._made is not None
        return self._made

    def take(self, made: CompiledFunction) -> None:
        """Use this code. The source it was made of is needed no more."""
        self._made, self.uncompiled = made, None

    @property
    def counted(self) -> frozenset[str]:
        """The rules that coverage can speak of."""
        return frozenset(self.made.ran(range(1, len(self.made.rules) + 1)))

    def rule_at(self, frame: FrameType) -> str:
        """The rule whose code runs in a frame. Python finds a frame's line by reading on from the function's first."""
        place = id(frame.f_code), frame.f_lasti
        rule = self._rules_at.get(place)
        if rule is None:
            rule = self._rules_at[place] = self.rule_of(frame.f_lineno)
        return rule

    def rule_of(self, line: int) -> str:
        rules = self.made.rules
        return rules[line - 1] if 0 < line <= len(rules) else ""
