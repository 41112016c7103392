"""Steps of mappings that write no FHIR: the parts they make, and which results these account for.

d7 = {}; n8 = False
...                                                 the body
v9 = making.add(K'OBX', d7, n8, True)               None where all its expressions were absent
if v9 is not None: accounted[s3[0].position] = None
"""

from engine.mapping.compiler.code import Code, Slot
from engine.mapping.compiler.fields import nested_numbers
from engine.mapping.compiler.members import Members
from engine.mapping.compiler.scopes import Made, Scope, bind_segments
from engine.mapping.compiler.values import Setting
from engine.mapping.message_context import RESULT_SEGMENT
from engine.mapping.rules import Fragment as RuleFragment
from engine.mapping.rules import Make, Problems, Step
from engine.mapping.targets import MAKING_STEPS, Target

_RESULT_PARTS = frozenset({"OBX", "row", "record"})
_REPORTING = ("ORU", "OUL")  # messages of results: their orders are remembered with their patients


class Outputs(Members):
    """Compiles the steps of a mapping to HL7 v2, JSON or CSV.

    Args:
        columns: receives those of CSV rows; shared by the structures of a mapping.
    """

    def __init__(
        self,
        code: Code,
        setting: Setting,
        problems: Problems,
        fragments: dict[str, RuleFragment],
        target: Target,
        columns: dict[str, None],
        *,
        traced: bool,
    ) -> None:
        super().__init__(code, setting, problems, fragments, traced=traced)
        self.target = target
        self.columns = columns
        self.lists_results = False
        self.members: set[str] = set()  # ``list.member`` of all records so far
        self._records: dict[int, str] = {}  # id of a scope -> variable of the record that its steps are inside of

    def _act(self, step: Step, scope: Scope, outer: Scope, before: Slot) -> Made | None:
        allowed = MAKING_STEPS[self.target.kind]
        if step.create or step.add_to:
            kind = "create" if step.create else "add_to"
            text = f"{kind}: makes FHIR, and this mapping writes {self.target}; write {allowed[0]}:"
            self.problems.error(step.create_node or step.node, text)
            return None
        if step.make is None:
            return super()._act(step, scope, outer, before)
        if step.make.kind not in allowed:
            self.problems.error(
                step.make.node,
                f"{step.make.kind}: is no part of {self.target}; write {' or '.join(f'{kind}:' for kind in allowed)}",
            )
            return None
        self._make(step.make, scope)
        if step.make.kind == "record" and step.steps is not None:
            inner = Scope(scope, self.code.slot(), self.code.loop)
            self._records[id(inner)] = self._record
            self.steps(step.steps, inner)
        return self._called(step, None, outer)

    def _make(self, make: Make, scope: Scope) -> None:
        code = self.code
        if make.kind == "segment" and not self.check_segment(make):
            return
        if self.traced:
            code.emit("T.begin_part()")
        if make.kind == "segment":
            content = self.content(make.name, self.put_field)
            self.fill(content, nested_numbers(make.body), scope)
            self.check_fields(make, content)
        else:
            content = self.content(make.name, self.put_cell if make.kind == "row" else self.put_member)
            self.fill(content, make.body, scope)
            if make.kind == "record":
                self.members |= {f"{make.name}.{name}" for name in content.names}
        part = code.new("v")
        name = code.constant(make.name)
        said = content.said
        if make.name == "MSH":
            said = "True"  # a header is there whatever is in it
        elif content.fixed:
            said = f"bool({content.variable})"  # it reads nothing, so that nothing can be absent
        result = self._is_result(make, scope)
        if make.kind == "document":
            code.emit(f"{part} = making.describe({content.variable}, {said})")
        elif make.kind == "record":
            around = self._around(scope)
            code.emit(f"{part} = making.record({name}, {around}, {content.variable}, {said}, {bool(result)})")
            self._record = part
        else:
            fields = self.setting.identity
            of = f"{self._group_of(fields.person, scope)}, {self._group_of(fields.order, scope)}"
            code.emit(f"{part} = making.add({name}, {content.variable}, {said}, {bool(result)}, {of})")
        if self.traced:
            code.emit(f"T.part({part})")
        if result:
            code.emit(f"if {said} and {result}: accounted[{result}] = None")
        if result and make.kind in ("row", "record"):
            self.lists_results = True
            if self.target.results:
                self._note_listed(part, said, make, scope)
        if make.name == "PID" and make.kind == "segment":
            code.emit(f"making.patient({part})")
        if make.name == "OBR" and make.kind == "segment" and self.target.event.startswith(_REPORTING):
            code.emit(f"making.order({part}, {self._order_time(scope)}, {self._person_fields(scope)})")

    def _note_listed(self, part: str, said: str, make: Make, scope: Scope) -> None:
        """Note the patient of the result in a row or record."""
        parts = [part]
        around: Scope | None = scope if make.kind == "record" else None
        while around is not None:
            if id(around) in self._records:
                parts.append(self._records[id(around)])
            around = around.parent
        time, person = self._order_time(scope), self._person_fields(scope)
        self.code.emit(f"if {said}: making.listed(({', '.join(parts)},), {time}, {person})")

    def _group_of(self, segment: str, scope: Scope) -> str:
        """The variable of the group, at hand or around it, that such a segment begins; None where there is none."""
        owner = scope.owner_of(segment)
        return owner.variable if owner is not None and owner.variable else "None"

    def _around(self, scope: Scope) -> str:
        """The variable of the record around a record; None for the document."""
        around: Scope | None = scope
        while around is not None:
            if id(around) in self._records:
                return self._records[id(around)]
            around = around.parent
        return "None"

    def _is_result(self, make: Make, scope: Scope) -> str:
        """The position of the result that a part accounts for, as source; empty where it is about none."""
        if (make.name if make.kind == "segment" else make.kind) not in _RESULT_PARTS:
            return ""
        result = RESULT_SEGMENT[self.setting.message_format]
        holder = scope.owner_of(result)
        if holder is None:
            return ""
        segments = self._noted(bind_segments(self.code, holder, result))
        variable = self.code.new()
        self.code.emit(f"{variable} = {segments.segments}[0].position if {segments.segments} else 0")
        return variable
