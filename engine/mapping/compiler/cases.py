"""`$case`: the branches of a body, each tried only where those before it did not hold."""

from collections.abc import Iterator
from contextlib import ExitStack

from engine.mapping.compiler.context import Compilation
from engine.mapping.compiler.expressions import condition
from engine.mapping.compiler.scopes import Scope
from engine.mapping.rules import Body, Case


def branches(c: Compilation, case: Case, scope: Scope) -> Iterator[tuple[Body, bool]]:
    """Each branch that may hold, and whether it does for certain; its lines are written before the next one's."""
    with ExitStack() as nested:  # a condition may need lines of its own, behind the else: of the one before
        for branch in case.branches:
            with c.at(branch.node):
                test = "True" if branch.when is None else condition(c, branch.when, scope)
                if test == "False":
                    assert branch.when is not None
                    c.problems.warning(branch.when.node, "this condition never holds; remove the branch")
                    continue
                with c.code.block(f"if {test}:"):
                    yield branch.body, test == "True"
                if test == "True":
                    break
                nested.enter_context(c.code.block("else:"))
