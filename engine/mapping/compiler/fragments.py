"""Fragments: their arguments and names, where they are used.

`$case`: the branches of a body, each tried only where those before it did not hold.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from engine.mapping.compiler.context import Compilation
from engine.mapping.compiler.scopes import Scope, Variable, declare
from engine.mapping.compiler.terms.expressions import condition
from engine.mapping.language.rules import Body, Case, Fragment, Let, Use
from engine.model.texts.spelling import suggestion


def fragment_of(c: Compilation, use: Use) -> Fragment | None:
    """The fragment that is used; None with a problem where there is none of that name."""
    found = c.fragments.get(use.fragment)
    if found is None:
        c.problems.error(use.node, f"no fragment is called {use.fragment}{suggestion(use.fragment, c.fragments)}")
    return found


def enter_fragment(c: Compilation, fragment: Fragment, use: Use, scope: Scope) -> Scope | None:
    """The scope of a fragment: its arguments, read where they are given, and its own lets."""
    if fragment.name in scope.in_fragments():
        c.problems.error(use.node, f"fragment {fragment.name} uses itself; fragments must end somewhere")
        return None
    c.used_fragments.add(fragment.name)
    for argument in use.arguments:
        if argument.name not in fragment.takes:
            c.problems.error(
                argument.node,
                f"{fragment.name} does not take {argument.name}{suggestion(argument.name, fragment.takes)}",
            )
    place = f"{use.node.file}:{use.node.line}"
    inner = Scope(scope, c.code.slot(), c.code.loop, fragment=fragment.name, used_at=place)
    declare(inner, c.code, use.arguments, "argument", scope)
    for name in fragment.takes:
        if name not in inner.names:  # an argument that was not given: absent
            inner.names[name] = Variable(name, use.node, None, inner, inner.loop, inner.slot, what="argument")
    declare(inner, c.code, fragment.lets)
    return inner


def check_used(c: Compilation, scope: Scope) -> None:
    """Warn about names of a scope that nothing reads."""
    for variable in scope.names.values():
        if not isinstance(variable, Variable) or variable.used:
            continue
        if variable.what == "let":
            c.problems.warning(variable.node, f"{variable.name} is never used; remove it")
        elif variable.value is not None:
            c.problems.warning(variable.node, f"the fragment never uses {variable.name}; remove it")


@contextmanager
def with_lets(c: Compilation, scope: Scope, lets: tuple[Let, ...]) -> Iterator[Scope]:
    """The scope inside a body or step: one of its own where it has names of its own."""
    if not lets:
        yield scope
        return
    inner = Scope(scope, c.code.slot(), c.code.loop)
    declare(inner, c.code, lets)
    yield inner
    check_used(c, inner)


@contextmanager
def used_body(c: Compilation, use: Use, scope: Scope, makes: str) -> Iterator[tuple[Body, Scope] | None]:
    """The body of a fragment that is used inside a body, and its scope; None with a problem where it cannot be.

    Args:
        makes: what a fragment without a body does.
    """
    fragment = fragment_of(c, use)
    if fragment is not None and fragment.body is None:
        c.problems.error(use.node, f"fragment {use.fragment} {makes}; use it as a step, not inside a body")
    if fragment is None or fragment.body is None or (inner := enter_fragment(c, fragment, use, scope)) is None:
        yield None
        return
    yield fragment.body, inner
    check_used(c, inner)


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
