"""The compiler, put together: the functions that its modules call upwards."""

from engine.mapping.compiler import steps
from engine.mapping.compiler.context import Compilation, Parts, Setting
from engine.mapping.compiler.documents import outputs
from engine.mapping.compiler.terms.comparisons import truth
from engine.mapping.compiler.terms.expressions import computed, expression
from engine.mapping.language.rules import Fragment, Problems
from engine.mapping.language.targets import FHIR, Target


def compilation(
    setting: Setting,
    problems: Problems,
    *,
    traced: bool = False,
    fragments: dict[str, Fragment] | None = None,
    target: Target = FHIR,
    columns: dict[str, None] | None = None,
) -> Compilation:
    """A compilation that has not begun.

    Args:
        columns: receives those of CSV rows.
    """
    act = steps.act if target.kind == "fhir" else outputs.act
    parts = Parts(expression, computed, truth, act)
    return Compilation(setting, problems, parts, traced, fragments or {}, target, {} if columns is None else columns)
