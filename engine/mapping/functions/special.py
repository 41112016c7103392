"""Functions that the compiler itself turns into code: they use their arguments' names, not only their values."""

from typing import Any

from engine.mapping.functions.registry import function


def _compiled(*_: Any) -> None:
    raise AssertionError("the compiler replaces this call")


@function("lookup(table: literal, key: text...) -> any", steady=True)
def lookup(*arguments: Any) -> None:
    """A code in a table: HL7 and ASTM tables by number or name give FHIR codes, a table of the mapping gives its row.

    A table of the mapping takes as many keys as `key:` says. A missing unit key still finds the code's row, but no
    number passes by it; `on_missing` and `on_missing_unit` decide about codes and units that are not in the table. The
    columns of a row are its members: `row.type`.
    """
    _compiled(arguments)


@function("ref(made: any) -> Reference")
def ref(*arguments: Any) -> None:
    """The reference to a resource that `as:` named; after a loop, the references to all it made."""
    _compiled(arguments)


@function("setting(name: literal, default: literal?) -> text", steady=True)
def setting(*arguments: Any) -> None:
    """A setting of the channel, else the default, else absent."""
    _compiled(arguments)
