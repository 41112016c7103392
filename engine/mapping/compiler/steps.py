"""Steps to loops and resources: the outermost part of a generated mapping.

for g2 in root.groups.get(K0, ()):          each: PATIENT_RESULT
    ...                                     its segments, then its steps
    i9 = own_id(K7, join_key(...))          create: Observation, request: update
    r10 = {"resourceType": K7, "id": i9, ...}
    v11 = put(K7, i9, r10)                  v11 is the reference that ref() gives
"""

from engine.config.yaml_nodes import Node
from engine.mapping import r4, syntax
from engine.mapping.compiler.bodies import Bodies
from engine.mapping.compiler.code import NOTHING, TEXT, TEXT_LIKE, Slot, Val
from engine.mapping.compiler.recurring import KeptValues, Recurring
from engine.mapping.compiler.scopes import (
    Lazy,
    Made,
    Scope,
    Segments,
    Variable,
    bind_outwards,
    bind_segments,
    declare,
    is_z_segment,
    z_segments_from,
)
from engine.mapping.message_context import RESULT_SEGMENT
from engine.mapping.rules import Formula, Let, Step, Text
from engine.mapping.structures import Group
from engine.model.reasons import ReasonCode
from engine.model.spelling import suggestion

# Resources whose natural key holds the patient and the day of measurement, because counters restart.
SCOPED = frozenset({"Composition", "DiagnosticReport", "Media", "Observation", "ServiceRequest", "Specimen", "Task"})
_OF_A_ROUND = frozenset(
    {"DiagnosticReport", "Observation"}
)  # what a group has of its own; a Specimen may be of several


class Steps(Bodies):
    """Compiles the steps of a mapping into one function body."""

    # -- the whole -------------------------------------------------------------------------------------------------

    def mapping(self, lets: tuple[Let, ...], steps: tuple[Step, ...]) -> Scope:
        """The body of the generated function, with ``root`` as the outermost group."""
        code = self.code
        slot = self._function_start = code.slot()
        scope = Scope(None, slot, 0, group=self.setting.root, variable="root")
        declare(scope, code, lets)
        self._anchor(scope)
        self.steps(steps, scope)
        self.check_used(scope)
        for segments in self.all_segments:
            segments.pad(code)
        return scope

    def steps(self, steps: tuple[Step, ...], scope: Scope) -> Made | None:
        """Steps in order; what the last resource step of them made."""
        last = None
        for step in steps:
            with self.at(step.node):
                last = self._step(step, scope) or last
        return last

    def _step(self, step: Step, scope: Scope) -> Made | None:
        if step.when is not None:
            test = self.condition(step.when, scope)
            if test == "False":
                self.problems.warning(step.when.node, "this condition never holds; remove the step")
                return None
            if test != "True":
                before = self.code.slot()
                with self.code.block(f"if {test}:"):
                    return self._guarded_step(step, scope, before)
        return self._guarded_step(step, scope, None)

    def _guarded_step(self, step: Step, scope: Scope, before: Slot | None) -> Made | None:
        if step.each:
            return self._each(step, scope, before or self.code.slot())
        inner = scope
        if step.lets:
            inner = Scope(scope, self.code.slot(), self.code.loop)
            declare(inner, self.code, step.lets)
        made = self._act(step, inner, scope, before or self.code.slot())
        if step.lets:
            self.check_used(inner)
        return made

    def _act(self, step: Step, scope: Scope, outer: Scope, before: Slot) -> Made | None:
        """What a step does once its loop and condition are settled.

        Args:
            scope: with the step's own lets; ``outer`` gets the name that `as:` gives.
        """
        if step.create:
            return self._create(step, scope, outer, before)
        if step.make is not None:
            text = f"{step.make.kind}: is no part of fhir/R4, which this mapping writes; write create:"
            self.problems.error(step.make.node, text)
            return None
        if step.add_to:
            self._add_to(step, scope)
            return self._called(step, None, outer)
        if step.use is not None:
            return self._use_steps(step, scope, outer, before)
        if step.steps is not None:
            inner = Scope(scope, self.code.slot(), self.code.loop)
            last = self.steps(step.steps, inner)
            self._hand_out(inner, outer, before, None)
            return self._called(step, last, outer)
        if step.drop is not None:
            self.setting.segments_read |= self._segments_dropped(step, scope.group_scope())
            self.code.emit(f"drop({self._group(scope)})")
        elif step.dead is not None:
            self._dead(step)
        elif step.warn is not None:
            name, colon, words = step.warn.text.partition(":")
            known = bool(colon) and name.isupper()  # warn: NOT_A_NUMBER: a text instead of a number
            code, text = (name, words.strip()) if known else ("RULE", step.warn.text)
            self.code.emit(f"warn({self.code.constant(code)}, {self.code.constant(text)})")
        return self._called(step, None, outer)

    def _segments_dropped(self, step: Step, here: Scope) -> set[str]:
        """The segments of which a drop says what becomes of them: those of a group that is always dropped.

        A segment that may occur elsewhere, or in a group that is kept, is reported as unread where no rule reads it.
        """
        assert here.group is not None
        result = {RESULT_SEGMENT[self.setting.message_format]}
        if step.when is not None or here.picks:
            return result
        inside = list(here.group.walk())
        elsewhere = [group for group in self.setting.root.walk() if group not in inside]
        own = set().union(*(group.segments for group in inside))
        return result | own.difference(*(group.segments for group in elsewhere))

    def _dead(self, step: Step) -> None:
        assert step.dead is not None
        reasons = {reason.value: reason for reason in ReasonCode}
        name, _, words = step.dead.text.partition(":")
        if name.strip() not in reasons:
            self.problems.error(step.dead.node, f"no reason is called {name}{suggestion(name, reasons)}")
            return
        reason = self.code.constant(reasons[name.strip()])
        text = self.code.constant(words.strip() or "a rule of the mapping says so")
        self.code.emit(f"raise m.dead({reason}, {text})")

    def _called(self, step: Step, made: Made | None, scope: Scope) -> Made | None:
        """Give ``made`` the name that `as:` says, in ``scope``."""
        if not step.name:
            return made
        assert step.name_node is not None
        if made is None:
            self.problems.error(step.name_node, "as: names what the step makes, and it makes no resource")
            return None
        earlier = scope.names.get(step.name)
        if isinstance(earlier, Made) and not earlier.many and not made.many:
            # Two steps with one name (one `when:` each): whichever ran gives the value.
            self._same_name(earlier, made, step.name_node)
            return earlier
        named = Made(step.name, step.name_node, made.variable, made.many, made.resources, made.needed)
        scope.names[step.name] = named
        return named

    def _same_name(self, earlier: Made, made: Made, node: Node) -> None:
        self.code.emit(f"if {made.variable} is not None: {earlier.variable} = {made.variable}")
        earlier.resources |= made.resources

    # -- loops -----------------------------------------------------------------------------------------------------

    def _each(self, step: Step, scope: Scope, before: Slot) -> Made | None:
        assert step.each_node is not None
        here = scope.group_scope()
        assert here.group is not None
        group = here.group.groups.get(step.each)
        if group is not None:
            head = f"{here.variable}.groups.get({self.code.constant(step.each)}, ())"
            return self._loop(step, scope, before, group, head, None)
        if step.each in here.group.segments:
            self.setting.segments_read.add(step.each)
            segments = self._noted(bind_segments(self.code, here, step.each))
            return self._loop(step, scope, before, here.group, f"{segments.segments} or ()", step.each)
        if is_z_segment(step.each):
            self.setting.segments_read.add(step.each)
            head = z_segments_from(self.code, scope, step.each)
            return self._loop(step, scope, before, here.group, head, step.each)
        if self._stands_elsewhere(here.group, step.each):
            _hand_out_nothing(step, scope)
            return None
        way = here.group.way_to(step.each)
        known = [*here.group.groups, *sorted(here.group.segments)]
        if way:
            text = f"{step.each} is inside {way[0]}; put each: {way[0]} around it"
        else:
            text = f"{here.group.name} has no group {step.each}{suggestion(step.each, known)}"
        self.problems.error(step.each_node, text)
        return None

    def _stands_elsewhere(self, here: Group, name: str) -> bool:
        """Whether another structure that the mapping reads has this group here: a loop over it has no rounds."""
        if here is self.setting.root:
            return any(name in root.groups for root in self.setting.others)
        return any(
            name in group.groups for root in self.setting.others for group in root.walk() if group.name == here.name
        )

    def _loop(
        self, step: Step, scope: Scope, before: Slot, group: Group, head: str, segment: str | None
    ) -> Made | None:
        code = self.code
        item = code.new("g")
        result = RESULT_SEGMENT[self.setting.message_format]
        has_results = segment is None and result in group.segments
        mark = code.new("n")
        if has_results:
            code.emit(f"{mark} = making.made_and_dropped()")
        inside: Made | None = None
        with code.loop_over(f"for {item} in {head}:"):
            if segment is None:
                inner = Scope(scope, code.slot(), code.loop, group=group, variable=item)
                if has_results and not self.traced:
                    inner.recurring = self._recurring_results(inner, result)
                self._anchor(inner)
            else:
                inner = self._segment_scope(scope, item, segment)
            inner.picks = step.where is not None
            declare(inner, code, step.lets)
            if step.filter is not None:
                test = self.condition(step.filter.when, inner)
                with code.block(f"if {test}:"):
                    code.emit(f"m.filter_out({self._group(inner)}, {code.constant(step.filter.name)})")
                    code.emit("continue")
            if step.where is not None:
                test = self.condition(step.where, inner)
                code.emit(f"if not ({test}): continue")
            inner_before = code.slot()
            if has_results:
                with code.trying():
                    inside = self._act(step, inner, inner, inner_before)
                with code.block("except Dropped:"):
                    code.emit(f"making.drop_row({item})")
            else:
                inside = self._act(step, inner, inner, inner_before)
            end = code.slot()
            self.check_used(inner)
        if inner.recurring is not None:
            inner.recurring.finish(code, self._function_start)
        here = scope.group_scope()
        self._anchor(here, again=True)
        if has_results:
            code.emit(f"making.check_drops({mark})")
        made = self._gathered(step, inside, before, end, scope)
        self._hand_out(inner, scope, before, end)
        return made

    def _recurring_results(self, scope: Scope, result: str) -> Recurring:
        """What this loop over results keeps; fetched behind the binding of its results."""
        code = self.code
        segments = self._noted(bind_segments(code, scope, result))
        with code.into(scope.slot):
            load = code.slot()
        number, plain, ranged = len(self._recurring), KeptValues(code.new("l")), KeptValues(code.new("l"))
        made = Recurring(number, code.loop, segments, load, code.new("l"), plain, ranged)
        self._recurring.append(made)
        return made

    def _segment_scope(self, scope: Scope, item: str, segment: str) -> Scope:
        """The scope of a loop over segments: one of them is what its name means inside."""
        code = self.code
        slot = code.slot()
        inner = Scope(scope, slot, code.loop)
        number = code.new("")
        with code.into(slot):
            code.emit(f"s{number} = ({item},)")
            code.emit(f"f{number} = {item}.fields")
            inner.preset[segment] = self._noted(Segments(segment, f"s{number}", f"f{number}", code.slot()))
            code.emit(f"m.at = {item}")
        return inner

    def _gathered(self, step: Step, inside: Made | None, before: Slot, end: Slot, scope: Scope) -> Made | None:
        """What a loop made, as a list; gathered only if something asks for it."""
        if inside is None:
            if step.name:
                assert step.name_node is not None
                self.problems.error(step.name_node, "as: names what the loop makes, and it makes no resource")
            return None
        made = self._list_of(inside, before, end)
        if step.name:
            assert step.name_node is not None
            made.name, made.node = step.name, step.name_node
            scope.names[step.name] = made
        return made

    def _list_of(self, inside: Made, before: Slot, end: Slot) -> Made:
        """A list over the rounds of a loop; its code is written when the list is first used."""
        code = self.code
        variable = code.new("l")

        def needed() -> None:
            if inside.needed is not None:
                inside.needed()
                inside.needed = None
            inside.used = True
            with code.into(before):
                code.emit(f"{variable} = []")
            with code.into(end):
                if inside.many:
                    code.emit(f"{variable} += {inside.variable}")
                else:
                    code.emit(f"if {inside.variable} is not None: {variable}.append({inside.variable})")

        return Made(inside.name, inside.node, variable, True, inside.resources, needed)

    def _hand_out(self, inner: Scope, outer: Scope, before: Slot, end: Slot | None) -> None:
        """Names that a block or loop made are known behind it: the same, or lists where it was a loop."""
        for name, made in inner.names.items():
            if isinstance(made, Made) and name not in outer.names and made.name == name:
                outer.names[name] = self._list_of(made, before, end) if end is not None else self._begun(made, before)

    def _begun(self, made: Made, before: Slot) -> Made:
        """What a block made, known behind it: a list begins before the block, which a condition may pass by."""
        if not made.many:
            return made

        def needed() -> None:
            with self.code.into(before):
                self.code.emit(f"{made.variable} = []")
            if made.needed is not None:
                made.needed()
                made.needed = None
            made.used = True

        return Made(made.name, made.node, made.variable, True, made.resources, needed)

    def _anchor(self, scope: Scope, *, again: bool = False) -> None:
        """Say which segment problems are placed at from here on."""
        assert scope.group is not None
        anchor = scope.group.anchor
        if anchor and anchor in scope.group.segments:
            segments = self._noted(bind_segments(self.code, scope, anchor))
            self.code.emit(f"m.at = {segments.segments}[0] if {segments.segments} else None")

    def _group(self, scope: Scope) -> str:
        return scope.group_scope().variable

    # -- fragments -------------------------------------------------------------------------------------------------

    def _use_steps(self, step: Step, scope: Scope, outer: Scope, before: Slot) -> Made | None:
        assert step.use is not None
        use = step.use
        fragment = self.fragments.get(use.fragment)
        if fragment is None:
            self.problems.error(
                use.node, f"no fragment is called {use.fragment}{suggestion(use.fragment, self.fragments)}"
            )
            return None
        if fragment.steps is None:
            self.problems.error(use.node, f"fragment {use.fragment} is a body; use it inside a body:")
            return None
        inner = self.enter_fragment(fragment, use, scope)
        if inner is None:
            return None
        last = self.steps(fragment.steps, inner)
        self.check_used(inner)
        return self._called(step, last, outer)

    # -- resources -------------------------------------------------------------------------------------------------

    def _create(self, step: Step, scope: Scope, outer: Scope, before: Slot) -> Made | None:
        code = self.code
        assert step.create_node is not None
        kind = step.create
        if kind not in r4.RESOURCES:
            self.problems.error(
                step.create_node, f"{kind} is no resource that is written{suggestion(kind, r4.RESOURCES)}"
            )
            return None
        if step.body is None:
            return None
        if step.key is None:
            self.problems.error(
                step.create_node, f"{kind} needs key:, what the sender calls it by; its id comes from it"
            )
            return None
        variable = code.new("v")
        with code.into(outer.frame().slot):
            code.emit(f"{variable} = None")
        made = Made(step.name, step.name_node or step.create_node, variable, False, frozenset({kind}))
        if self.traced:
            self._trace_begin(step, scope)
        self._check_key(step, scope, kind)
        key = self._key(step, scope, kind)
        if key is None:
            return made
        key_code, identifier, number = key
        if self.traced:
            if kind in SCOPED:
                self._trace_time(kind, scope)
            self._trace_key(step.key, scope)
        if kind == "Patient":
            frame = outer.frame()
            if not frame.patient:
                frame.patient = code.new("p")
                with code.into(frame.slot):
                    code.emit(f"{frame.patient} = None")
            key_code = self._patient_key(
                frame.patient, key_code, identifier, scope, master=step.request == "update_by_identifier"
            )
        if kind in SCOPED:
            key_code = self._scoped(key_code, kind, scope)
        self._put(step, kind, scope, variable, key_code, identifier)
        if kind == "DiagnosticReport":
            patient = scope.patient_variable() or "None"
            person = self._person_fields(scope)
            code.emit(f"making.report({number}, {patient}, {self._order_time(scope)}, {person})")
        if kind == "Observation":
            self._account(scope, variable)
        return self._called(step, made, outer)

    def _patient_key(self, patient: str, key: str, identifier: str, scope: Scope, *, master: bool) -> str:
        """The key of a Patient: by its number, where that lasts; sets what keys of results hold in its place."""
        code = self.code
        if identifier == "None":  # the mapping's own: a name within an order
            code.emit(f"{patient} = {key}")
            return patient
        variable = code.new()
        fields = self._person_fields(scope)
        code.emit(f"{patient} = making.whose({identifier}, {self._group(scope)}, {fields}, {master})")
        code.emit(f"{variable} = making.patient_key({patient}, {self._group(scope)})")
        return variable

    def _put(self, step: Step, kind: str, scope: Scope, variable: str, key: str, identifier: str) -> None:
        """Build the resource and add it to the document, or take the one that this message made before."""
        code = self.code
        assert step.body is not None
        name = code.constant(kind)
        first = [f"'resourceType': {name}"]
        identity = code.new("i")
        if step.request == "update_by_identifier":
            code.emit(f"{identity} = shared_id({name}, {key})")
            resource = self.resource(step.body, kind, scope, first)
            scoped = kind in SCOPED
            code.emit(f"{variable} = making.put_matched({name}, {identity}, {resource}, {identifier}, {scoped})")
            self._trace_made(variable, resource)
            return
        if step.request == "create_if_none":
            code.emit(f"{identity} = shared_id({name}, {key})")
            code.emit(f"{variable} = made.get({identity})")
            with code.block(f"if {variable} is None:"):
                resource = self.resource(step.body, kind, scope, first)
                scoped = kind in SCOPED
                code.emit(f"{variable} = put_shared({name}, {identity}, {resource}, {identifier}, {scoped})")
                self._trace_made(variable, resource)
            if self.traced:
                code.emit("else: T.abandon()")
            return
        code.emit(f"{identity} = own_id({name}, {key})")
        resource = self.resource(step.body, kind, scope, [*first, f"'id': {identity}"])
        code.emit(f"{variable} = put({name}, {identity}, {resource}, {code.constant(step.request)})")
        self._trace_made(variable, resource)

    def _add_to(self, step: Step, scope: Scope) -> None:
        """Elements for a resource that the message made before: those that it lacks, and more items of its lists."""
        code = self.code
        if step.which is None or step.body is None:
            return
        which = self.value(step.which, scope)
        if which.is_absent:
            return
        if which.kind.name != "Reference" or which.kind.many:
            self.problems.error(step.which.node, f"which: is one reference, as =ref(x), and this is {which.kind}")
            return
        with code.block(f"if {which.code} is not None:"):
            if self.traced:
                self._trace_begin(step, scope)
                self._trace_key(step.which, scope)
            elements = self.elements(step.body, step.add_to, scope)
            code.emit(f"making.add_to({which.code}, {elements})")
            self._trace_made(which.code, elements)

    def _trace_begin(self, step: Step, scope: Scope) -> None:
        code = self.code
        node = step.create_node or step.node
        rule = code.constant(f"{node.file}:{node.line}")
        kind, request = code.constant(step.create or step.add_to), code.constant(step.request)
        code.emit(f"T.begin({kind}, {request}, {rule}, {code.constant(scope.uses())})")
        code.emit("T.open()")

    def _trace_key(self, key: Formula | Text, scope: Scope) -> None:
        rule, function = self.told(key) if isinstance(key, Formula) else (f"{key.node.file}:{key.node.line}", "")
        uses = self.code.constant(scope.uses())
        self.code.emit(f"T.key({self.code.constant(rule)}, {self.code.constant(function)}, {uses})")

    def _trace_time(self, kind: str, scope: Scope) -> None:
        """Say which time keeps restarting numbers apart, beside what the key is made of."""
        holder = scope.owner_of(self.setting.identity.result) if kind == "Observation" else None
        result = "None"
        if holder is not None:
            segments = self._noted(bind_segments(self.code, holder, self.setting.identity.result))
            patient = scope.patient_variable()
            alone = f"{segments.segments} and {patient} is None" if patient else segments.segments
            result = f"{segments.segments}[0] if {alone} else None"
        self.code.emit(f"scope.tell_time({self._order_scope(scope).variable}, {result})")

    def _trace_made(self, variable: str, resource: str) -> None:
        if self.traced:
            self.code.emit(f"T.made({variable}, {resource})")

    def _key(self, step: Step, scope: Scope, kind: str) -> tuple[str, str, str] | None:
        """Code of the natural key as one text, of the Identifier it is (or None), and of its first part."""
        code = self.code
        assert step.key is not None
        formula, read_in = self._key_formula(step.key, scope)
        if isinstance(formula, Formula) and isinstance(formula.tree, syntax.ListOf):
            return self._list_key(step, formula, formula.tree, read_in)
        value = self.value(formula, read_in, "text")
        if value.is_absent:
            self.problems.error(
                step.key.node, "the key is always absent; the resource could not be distinguished from others"
            )
            return None
        if value.kind.name == "field":
            value = self.text(value, syntax.Absent(0))
        if value.kind.name not in TEXT_LIKE | {"Identifier"}:
            self.problems.error(step.key.node, f"a key is a text, an Identifier or a list of texts, not {value.kind}")
            return None
        if value.maybe:
            self._may_be_absent(step, step.key.node)
            code.emit(f"if {value.code} is None: raise making.no_identity({code.constant(kind)})")
        if value.kind.many:
            return f"'\\x1f'.join({value.code})", "None", f"{value.code}[0]"
        if value.kind.name == "Identifier":
            return f"identity_of({value.code})", value.code, f"{value.code}['value']"
        if kind == "Patient":  # a number all the same, and of nothing that a site could name
            return value.code, f"{{'value': {value.code}}}", value.code
        return value.code, "None", value.code

    def _may_be_absent(self, step: Step, node: Node, offset: int = 0) -> None:
        """Warn about a key without which the whole message would be dead."""
        if step.when is None:
            text = "this key can be absent, and the message is dead then; add when:, another source with |, or | '-'"
            self.problems.warning(node, text, offset=offset)

    def _key_formula(self, value: Formula | Text, scope: Scope) -> tuple[Formula | Text, Scope]:
        """A key's own expression: where it is the name of a variable, that variable's value, and where it is read."""
        seen: set[int] = set()
        while isinstance(value, Formula) and isinstance(value.tree, syntax.Name):
            variable = scope.find(value.tree.name)
            if not isinstance(variable, Variable) or variable.value is None or id(variable) in seen:
                break
            seen.add(id(variable))
            variable.used = True
            value, scope = variable.value, variable.scope
        return value, scope

    def _list_key(self, step: Step, formula: Formula, tree: syntax.ListOf, scope: Scope) -> tuple[str, str, str] | None:
        """A key of several parts, each of which must be there."""
        reading = self.recurs(tree, scope)
        if reading is not None:

            def build() -> Val:
                made = self._joined_key(step, formula, tree, scope)
                return NOTHING if made is None else Val(made[0], TEXT, maybe=False)

            kept = self.keep(("key", id(formula), id(scope)), reading, build)
            return None if kept.is_absent else (kept.code, "None", kept.code)
        made = self._joined_key(step, formula, tree, scope)
        return None if made is None else (made[0], "None", made[1])

    def _joined_key(self, step: Step, formula: Formula, tree: syntax.ListOf, scope: Scope) -> tuple[str, str] | None:
        """Code of the parts as one text, and of the first."""
        code = self.code
        parts = []
        before, self._formula = self._formula, formula
        try:
            for item in tree.items:
                value = self.text(self.expression(item, scope, "text"), item)
                if value.is_absent or value.kind.name not in TEXT_LIKE or value.kind.many:
                    self.error(item, f"a part of a key is one text, not {value.kind}")
                    return None
                if value.maybe:
                    self._may_be_absent(step, formula.node, formula.at(item))
                    code.emit(f"if {value.code} is None: raise making.no_identity({code.constant(step.create)})")
                parts.append(value.code)
        finally:
            self._formula = before
        if not parts:
            self.problems.error(
                formula.node, "the key is always absent; the resource could not be distinguished from others"
            )
            return None
        joined = code.new()
        code.emit(f"{joined} = '\\x1f'.join(({', '.join(parts)},))")
        return joined, parts[0]

    def _tells_rounds_apart(self, step: Step, scope: Scope, inner: Scope) -> None:
        """Warn of a key that reads nothing of the group of its loop: all rounds would make one resource."""
        assert inner.group is not None
        if inner.group is self.setting.root or step.key is None:
            return
        segments = {segment for group in inner.group.walk() for segment in group.segments}
        read = self._paths_of(step.key, scope, set()) if isinstance(step.key, Formula) else []
        if not any(path.segment in segments for path in read):
            name = inner.group.name
            self.problems.warning(
                step.key.node,
                f"the key is the same in every round of each: {name}; one could not be distinguished from another; "
                f"add a field of {name}",
            )

    def _check_key(self, step: Step, scope: Scope, kind: str) -> None:
        """Warn where a key cannot distinguish two resources of a loop, or overwrites a person."""
        if kind == "Patient" and step.request == "update":
            assert step.create_node is not None
            self.problems.warning(
                step.create_node, "request: update overwrites what the server knows of a Patient; write create_if_none"
            )
        inner = scope.group_scope()
        if kind in _OF_A_ROUND and step.request in ("update", "create") and inner.group is not None:
            self._tells_rounds_apart(step, scope, inner)
        if kind != "Observation" or not isinstance(step.key, Formula):
            return
        if self.setting.message_format == "hl7v2" and inner.group is not None and "OBX" in inner.group.segments:
            read = {(path.segment, path.field) for path in self._paths_of(step.key, scope, set())}
            if ("OBX", 3) in read and ("OBX", 4) not in read:
                self.problems.warning(
                    step.key.node,
                    "the key lacks OBX-4: two results of one code could not be distinguished; add OBX-4.1 | ''",
                )

    def _paths_of(self, formula: Formula, scope: Scope, seen: set[int]) -> list[syntax.Path]:
        """All paths that an expression reads, through the variables it names."""
        found: list[syntax.Path] = []
        for part in syntax.walk(formula.tree):
            if isinstance(part, syntax.Path):
                found.append(part)
            elif isinstance(part, syntax.Name):
                variable = scope.find(part.name)
                if isinstance(variable, Variable) and isinstance(variable.value, Formula) and id(variable) not in seen:
                    seen.add(id(variable))
                    found += self._paths_of(variable.value, variable.scope, seen)
        return found

    # -- identity --------------------------------------------------------------------------------------------------

    def _order_scope(self, scope: Scope) -> Scope:
        """The group whose time of measurement counts: the nearest that has an order in it."""
        wanted = self.setting.identity.order
        scopes = scope.group_scopes()
        for candidate in scopes:
            assert candidate.group is not None
            if candidate.group.holds(wanted):
                return candidate
        return scopes[-1]

    def _order_time(self, scope: Scope) -> str:
        owner = self._order_scope(scope)
        lazy = owner.identities.get("time")
        if lazy is None:

            def build() -> Val:
                variable = self.code.new()
                self.code.emit(f"{variable} = scope.order_time({owner.variable})")
                return Val(variable, NOTHING.kind, maybe=False)

            lazy = owner.identities["time"] = Lazy(build, owner.loop, owner.slot, key=("time", id(owner)))
        return self._untraced(lazy)

    def _person_fields(self, scope: Scope) -> str:
        """The fields of the segment that says who the patient at hand is: the engine's own reading, no rule's."""
        name = self.setting.identity.person
        owner = scope.owner_of(name)
        bound = bind_outwards(self.code, scope, name) if owner is None else bind_segments(self.code, owner, name)
        return bound.fields

    def _scoped(self, key: str, kind: str, scope: Scope) -> str:
        """The key with what keeps restarting counters apart: patient and day, or the time where no patient is named."""
        code = self.code
        owner = self._order_scope(scope)
        patient = scope.patient_variable()
        name = ("scope", patient)
        lazy = owner.identities.get(name)
        if lazy is None:

            def build() -> Val:
                time = self._order_time(scope)
                variable = self.code.new()
                self.code.emit(f"{variable} = scope.of({patient or 'None'}, {time})")
                return Val(variable, NOTHING.kind, maybe=False)

            lazy = owner.identities[name] = Lazy(build, owner.loop, owner.slot, key=(name, id(owner)))
        suffix = self._untraced(lazy)
        if kind == "Observation":
            result = RESULT_SEGMENT[self.setting.message_format]
            holder = scope.owner_of(result)
            if holder is not None:
                segments = self._noted(bind_segments(code, holder, result))
                numbers = self.setting.identity.result_time
                segments.width = max(segments.width, max(numbers) + 1)
                own = " or ".join(f"{segments.fields}[{number}]" for number in numbers)
                variable = code.new()
                code.emit(f"{variable} = {suffix}")
                test = self._is_alone(patient)
                code.emit(f"if {test}: {variable} = scope.alone({own} or {self._order_time(scope)})")
                suffix = variable
        elif kind == "DiagnosticReport":
            variable = code.new()
            code.emit(f"{variable} = {suffix}")
            test = self._is_alone(patient)
            alone = f"scope.report_alone({owner.variable}, {self._order_time(scope)})"
            code.emit(f"if {test}: {variable} = {alone}")
            suffix = variable
        joined = code.new()
        code.emit(f"{joined} = {key} + {suffix}")
        return joined

    @staticmethod
    def _is_alone(patient: str) -> str:
        """Whether nothing but the time says whose a result is."""
        return f"{patient + ' is None and ' if patient else ''}not scope.of_a_day"

    def _untraced(self, lazy: Lazy) -> str:
        """A lazy value of the engine's own: it has no place in the trace."""
        traced, self.traced = self.traced, False
        try:
            return self.lazy(lazy).code
        finally:
            self.traced = traced

    def _account(self, scope: Scope, made: str) -> None:
        """A result became an Observation: the count at the end must come out even."""
        result = RESULT_SEGMENT[self.setting.message_format]
        holder = scope.owner_of(result)
        if holder is not None:
            segments = self._noted(bind_segments(self.code, holder, result))
            self.code.emit(f"if {segments.segments}: accounted[{segments.segments}[0].position] = {made}")


def _hand_out_nothing(step: Step, scope: Scope) -> None:
    """The names that a loop would hand out, each an empty list: it has no rounds."""
    waiting = [step]
    while waiting:
        inner = waiting.pop()
        waiting += inner.steps or ()
        if inner.name and inner.name not in scope.names:
            assert inner.name_node is not None
            scope.names[inner.name] = Made(inner.name, inner.name_node, "[]", True, frozenset(), used=True)
