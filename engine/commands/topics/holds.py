"""The names and functions of rules that hold results back."""

from engine.commands.topics.tables import code, rows
from engine.mapping.hold_rules import names


def markdown() -> str:
    named = ((code(name), text) for name, (_, text) in names.NAMES.items())
    functions = ((code(name), text) for name, text in names.FUNCTIONS.items())
    return "\n".join(
        (
            *("# Rules that hold results back", "", "Rules are the entries of `hold:` of a route.", ""),
            *("## Names", "", *rows("name | of the result", named), ""),
            *("## Functions", "", *rows("function | ", functions)),
        )
    )
