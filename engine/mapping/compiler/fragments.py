"""Fragments: their arguments and names, where they are used."""

from engine.config.yaml_nodes import Node
from engine.mapping.compiler.context import Compilation
from engine.mapping.compiler.scopes import Scope, Variable, declare
from engine.mapping.rules import Fragment, Use
from engine.model.spelling import suggestion


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
        if name not in inner.names:
            declare_absent(inner, name, use.node)
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


def declare_absent(scope: Scope, name: str, node: Node) -> None:
    """An argument that was not given: absent."""
    scope.names[name] = Variable(name, node, None, scope, scope.loop, scope.slot, what="argument")
