"""YAML nodes to the parts that occur in all rules: scalars, expressions, names, and the bodies of resources."""

from collections.abc import Iterator

from engine.config.reading.yaml_nodes import Node
from engine.mapping.language import rules, syntax
from engine.model.errors import ExpressionError
from engine.model.texts.spelling import suggestion


class BodyReader:
    """Reads scalars and bodies; a part with the wrong form is reported as a problem and left out."""

    def __init__(self, problems: rules.Problems) -> None:
        self.problems = problems

    def keys(self, node: Node, allowed: tuple[str, ...], what: str) -> None:
        if node.kind != "map":
            self.problems.error(node, f"{what} is a map of keys and values")
            return
        for key, _ in node.pairs:
            if key.value not in allowed:
                self.problems.error(key, f"{what} has no key '{key.value}'{suggestion(key.value, allowed)}")

    def format(self, node: Node) -> None:
        declared = node.get("format")
        if declared is None:
            self.problems.error(node, f"format: is missing; write format: {rules.FORMAT}")
        elif declared.value != rules.FORMAT:
            self.problems.error(declared, f"'{declared.value}' is not read by this LabRelay; write {rules.FORMAT}")

    def scalar(self, node: Node, key: str) -> str:
        value = node.get(key)
        if value is None:
            self.problems.error(node, f"{key}: is missing; it names the file's content")
            return ""
        if value.kind != "scalar":
            self.problems.error(value, f"{key}: is one text")
            return ""
        return value.value

    def choice(self, node: Node, choices: tuple[str, ...], what: str) -> str:
        if node.kind == "scalar" and node.value in choices:
            return node.value
        self.problems.error(node, f"{what} is one of {', '.join(choices)}, not '{node.value}'")
        return ""

    def list_of(self, node: Node | None, what: str) -> Iterator[Node]:
        if node is None:
            return
        if node.kind != "list":
            self.problems.error(node, f"{what}: is a list, as [a, b]")
            return
        for item in node.items:
            if item.kind == "scalar":
                yield item
            else:
                self.problems.error(item, f"{what}: holds names only")

    def map_of(self, node: Node | None, what: str) -> Iterator[tuple[Node, Node]]:
        if node is None:
            return
        if node.kind != "map":
            self.problems.error(node, f"{what}: is a map of names and values")
            return
        yield from node.pairs

    def formula(self, node: Node) -> rules.Formula | None:
        """The expression of a scalar that begins with ``=``; None with a problem where it is none."""
        try:
            return rules.Formula(node, syntax.parse(node.value[1:]))
        except ExpressionError as error:
            hint = ""
            if node.plain and "#" in node.value:
                hint = " (in YAML a blank and # begin a comment: put quotes around)"
            self.problems.error(node, f"{error}{hint}", offset=1 + error.at)
            return None

    def value(self, node: Node) -> rules.Formula | rules.Text | None:
        if node.kind != "scalar":
            self.problems.error(node, "one value is expected here: a literal, or an expression that begins with =")
            return None
        return self.formula(node) if node.value.startswith("=") else rules.Text(node)

    def condition(self, node: Node | None) -> rules.Formula | None:
        if node is None:
            return None
        if node.kind != "scalar" or not node.value.startswith("="):
            self.problems.error(node, "a condition is an expression; write it with = in front")
            return None
        return self.formula(node)

    def lets(self, node: Node | None, what: str = "let") -> tuple[rules.Let, ...]:
        made = []
        for name, value in self.map_of(node, what):
            self.name(name)
            if (read := self.value(value)) is not None:
                made.append(rules.Let(name.value, name, read))
        return tuple(made)

    def name(self, node: Node) -> None:
        text = node.value
        good = text.isascii() and text.isidentifier() and text[0].islower()
        if not good or text in ("if", "else", "and", "or", "not", "in", "matches", "true", "false", "absent"):
            self.problems.error(node, f"'{text}' is no name: small letters, digits and _, and no word of the language")

    def use(self, node: Node) -> rules.Use | None:
        fragment = node.get("$use")
        if fragment is None:
            if (given := node.key("$with")) is not None:
                self.problems.error(given, "$with: belongs to a $use:")
            return None
        if fragment.kind != "scalar":
            self.problems.error(fragment, "$use: names one fragment")
            return None
        return rules.Use(fragment, fragment.value, self.lets(node.get("$with"), "$with"))

    def body(self, node: Node) -> rules.Body | None:
        if node.kind != "map":
            self.problems.error(node, "a body is a map of elements")
            return None
        parts: list[rules.Element | rules.Case | rules.Use] = []
        lets: tuple[rules.Let, ...] = ()
        for name, value in node.pairs:
            match name.value:
                case "$case":
                    if (case := self._case(name, value)) is not None:
                        parts.append(case)
                case "$use":
                    if (use := self.use(node)) is not None:
                        parts.append(use)
                case "$with":
                    if node.get("$use") is None:
                        self.problems.error(name, "$with: belongs to a $use:")
                case "$let":
                    lets = self.lets(value, "$let")
                case other if other.startswith("$"):
                    sigils = ("$case", "$use", "$with", "$let")
                    self.problems.error(name, f"'{other}' means nothing here{suggestion(other, sigils)}")
                case _:
                    if (inner := self._element(value)) is not None:
                        parts.append(rules.Element(name.value, name, inner))
        return rules.Body(node, tuple(parts), lets)

    def _element(self, node: Node) -> rules.Value | None:
        if node.kind == "map":
            return self.body(node)
        if node.kind == "list":
            items = [item for item in map(self._element, node.items) if item is not None]
            return rules.Values(node, tuple(items))
        if not node.value:
            self.problems.error(
                node, "a value is missing; write a literal, an expression with =, or remove the element"
            )
            return None
        return self.value(node)

    def _case(self, name: Node, node: Node) -> rules.Case | None:
        if node.kind != "list" or not node.items:
            self.problems.error(node, "$case: is a list of branches, each with when: or else: and elements")
            return None
        branches: list[rules.Branch] = []
        for item in node.items:
            if item.kind != "map":
                self.problems.error(item, "a branch is a map with when: or else: and elements")
                continue
            when, otherwise = item.get("when"), item.get("else")
            if (when is None) == (otherwise is None):
                self.problems.error(item, "a branch has either when: with a condition, or else: true")
                continue
            if branches and branches[-1].when is None:
                self.problems.error(item, "this branch is never reached; put it before else:")
            condition = self.condition(when)
            if when is not None and condition is None:
                continue
            self._reached(item, condition, branches)
            rest = Node(
                kind="map",
                file=item.file,
                line=item.line,
                column=item.column,
                pairs=tuple(pair for pair in item.pairs if pair[0].value not in ("when", "else")),
            )
            if (body := self.body(rest)) is not None:
                branches.append(rules.Branch(item, condition, body))
        return rules.Case(name, tuple(branches))

    def _reached(self, item: Node, condition: rules.Formula | None, before: list[rules.Branch]) -> None:
        """A problem where a branch before this one holds whenever this one would."""
        for branch in before:
            if branch.when is None or condition is None:
                continue
            if isinstance(branch.when.tree, rules.Flag) and branch.when.tree.value:
                text = f"this branch is never reached: the condition of line {branch.node.line} always holds"
                self.problems.warning(item, f"{text}; write else: true there, and put it last")
                return
            if rules.same(branch.when.tree, condition.tree):
                text = f"this branch is never reached: line {branch.node.line} has the same condition"
                self.problems.warning(item, f"{text}; correct one of them, or remove this branch")
                return
