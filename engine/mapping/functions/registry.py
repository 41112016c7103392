"""The functions a mapping may call, with their declared signatures. Nothing else can be called: no name is ever looked
up outside this table.

A signature is written as one line and is also what the reference documentation shows:

    xtn(numbers: field, use: literal?) -> ContactPoint
        field     one repetition as sent, still escaped       text, decimal, date, dateTime ...  FHIR primitives
        segment   one segment or record                       row, measured                      table rows, numbers
        literal   a text known when the mapping is loaded     Identifier, CodeableConcept ...    FHIR data types
        table     the name of one of the mapping's tables
        x[]       a list        x?  may be absent or left out       x...  any number of them     x!  never absent

A function whose argument is absent is absent, unless the parameter says ``?``. A list given for a parameter that takes
one value calls the function for each element.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

Implementation = TypeVar("Implementation", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a function.

    Attributes:
        kind: see the module.
        many: takes a list.
        optional: may be left out or absent; the function is called with None then.
        rest: takes all further arguments.
    """

    name: str
    kind: str
    many: bool = False
    optional: bool = False
    rest: bool = False


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the language.

    Attributes:
        signature: as declared.
        call: ``call(run, *arguments)``, or ``call(*arguments)`` where it is pure.
        kind, many, always: of its value; ``always`` means never absent for present arguments.
        pure: knows nothing of the message beside its arguments, so that it can be called when the mapping is loaded.
        steady: gives the same value for the same arguments in all messages that are read alike
            (`engine.mapping.message.read_cache`), and changes nothing; every pure function is steady.
        whole_message: gives the same value for the same arguments everywhere in a message.
        doc: first line of its documentation; ``details`` the rest.
        settings: channel settings that it reads.
        method: of the run, which does the same; generated code calls it without a step in between.
        of_components: takes one field, and is absent where that has no component delimiter.
        is_field: is its first argument, a field, where that has no component delimiter.
    """

    name: str
    signature: str
    parameters: tuple[Parameter, ...]
    kind: str
    many: bool
    always: bool
    pure: bool
    steady: bool
    whole_message: bool
    call: Callable[..., Any]
    doc: str
    details: str
    settings: tuple[str, ...] = ()
    method: str = ""
    of_components: bool = False
    is_field: bool = False

    @property
    def group(self) -> str:
        """Its chapter in the documentation: the module that defines it, or the feature."""
        *_, folder, module = str(self.call.__module__).split(".")
        return folder if module == "functions" else module


FUNCTIONS: dict[str, Function] = {}

_SIGNATURE = re.compile(r"(\w+)\((.*)\) -> ([\w.]+)((?:\[\])?)(!?)")
_PARAMETER = re.compile(r"(\w+): (\w+(?:\.\w+)?)((?:\[\])?)(\?|\.\.\.)?")


def function(
    signature: str,
    *,
    pure: bool = False,
    steady: bool = False,
    whole_message: bool = False,
    settings: tuple[str, ...] = (),
    method: str = "",
    of_components: bool = False,
    is_field: bool = False,
) -> Callable[[Implementation], Implementation]:
    """Declare a function of the language."""
    match = _SIGNATURE.fullmatch(signature)
    assert match, signature
    parameters = []
    for part in filter(None, match[2].split(", ")):
        found = _PARAMETER.fullmatch(part)
        assert found, part
        parameters.append(
            Parameter(found[1], found[2], many=bool(found[3]), optional=found[4] == "?", rest=found[4] == "...")
        )

    def declare(implementation: Implementation) -> Implementation:
        first, _, rest = (implementation.__doc__ or "").strip().partition("\n")
        assert first, f"{match[1]}: a function needs its line of documentation"
        assert match[1] not in FUNCTIONS, match[1]
        FUNCTIONS[match[1]] = Function(
            name=match[1],
            signature=signature,
            parameters=tuple(parameters),
            kind=match[3],
            many=bool(match[4]),
            always=bool(match[5]),
            pure=pure,
            steady=pure or steady,
            whole_message=pure or steady or whole_message,
            call=implementation,
            doc=first,
            details="\n".join(line.strip() for line in rest.strip().splitlines()),
            settings=settings,
            method=method,
            of_components=of_components,
            is_field=is_field,
        )
        return implementation

    return declare
