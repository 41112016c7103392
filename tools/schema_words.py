"""What each key of the schemas means, for editors to show: the words that models do not bring with them.

A key is looked up by the way to it (``layout: framing.end``), and then by its own name among those that mean the same
wherever they stand. A key without a word is an error, so that a new one gets its own.
"""

from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]

_TEXT = "What is said of it, for people."
_LET = "Names for values: name: =expression. Each is computed where it is first needed, at most once."
_WITH = "What the fragment takes: name: =expression."
_MISSING = "A code that the table lacks: local (it passes as sent), dead (the message), drop (this result alone)."
_MISSING_UNIT = "A known code with a unit that the table lacks: dead (the message), local (it passes as sent)."

EVERYWHERE = {
    "$use": "A fragment whose elements, or steps, stand here.",
    "$with": _WITH,
    "$let": "Names for this object: name: =expression.",
    "kind": "Which kind of thing this is; the other keys follow from it.",
}

MAPPING = {
    "format": "The version of the language.",
    "description": _TEXT,
    "fragments": "Parts that mappings import and use: name: a fragment.",
    "csv": "With to: csv, how lines are written.",
    "csv.delimiter": "Between two columns.",
    "csv.header": "A first line with the columns' names: true or false.",
    "results.patient": "The patient's number.",
    "results.order": "The number of the order or specimen.",
    "results.test": "What was measured.",
    "results.sub": "Which of several results of one test.",
    "results.value": "The result itself; a result without any of these has no value.",
    "results.with": "What else a receiver reads of a result: unit, range, flags.",
    "results.status": "A code of FHIR (final) or of HL7 table 0085 (F).",
    "results.time": "When it was measured.",
    "bundle": "The envelope: transaction (default), message, document or collection.",
    "tables": "Code tables: name: the CSV file and the columns to look up by.",
    "let": _LET,
    "steps": "What is made, in this order.",
    "identity": "Fields that ids are made of, where they are not those of the standard.",
    "identity.order_time": "When an order was taken or measured: O-8, or a list; the first with a time counts.",
    "identity.result_time": "When a result was measured: R-13, or a list; the first with a time counts.",
    "identity.order_number": "The number of an order: O-3, or a list; the first that holds one counts.",
    "identity.name": "The name of the person who bears a patient number: P-6.",
    "identity.birth_date": "The birth date of this person: P-8.",
    "identity.sex": "The sex of this person: P-9.",
    "policies": "What becomes of doubtful cases; the settings of a channel go above.",
    "policies.on_missing": _MISSING,
    "policies.on_missing_unit": _MISSING_UNIT,
    "policies.bad_value": "A value that cannot be converted: warn (it is left out) or dead.",
    "policies.unread_segment": "A segment that no rule reads: warn, dead or ignore.",
    "policies.no_specimen": "Results without a specimen number: warn, dead or allow.",
    "policies.no_patient": "A message without a Patient: allow or dead.",
    "step.do": "Several steps, under one each, when or let.",
    "step.let": _LET,
    "step.when": "Only where this holds.",
    "step.request": "How a transaction sends it; update, if not given: PUT under an id of ours.",
    "step.body": "The elements of the resource: literals, or =expressions.",
    "step.create": "Makes a resource of this type.",
    "step.filter": "With each: takes a group out, as a control; its results are counted.",
    "step.filter.when": "A group for which this holds is taken out.",
    "step.filter.as": "Under which name it is counted, as qc.",
    "table.csv": "The file, as tables/mine.csv, below the mappings folder.",
    "table.key": "The columns to look up by, as [code, unit_in].",
    "table.on_missing": _MISSING,
    "table.on_missing_unit": _MISSING_UNIT,
    "fragment.takes": "Names of its arguments.",
    "fragment.let": _LET,
    "fragment.body": "Elements, for use in a body.",
    "fragment.steps": "Steps, for use as a step.",
}

LAYOUT = {
    "layout": "Its name: that of its file; in a pack, that of the pack.",
    "about": "Which analyzer this is for.",
    "evidence": "How it is known what the analyzer sends.",
    "framing": "How texts follow each other on a line. Without it the layout is for files.",
    "text": "How a text is cut into pieces.",
    "decimal": 'The sign in decimals, "," or "."; numbers of R-4 and R-6 get a point.',
    "required": "Fields, as R-4, without which a text is a dead letter.",
    "unread": "A piece that no rule takes: keep (with a warning) or refuse (the whole text).",
    "rules": "What of a piece goes where.",
    "framing.start": "What begins a text, as <STX>.",
    "framing.end": "What ends a text, as <ETX>.",
    "framing.between": "Bytes between texts that mean nothing, as <EOT>.",
    "framing.idle": "A time without a byte that ends a text, as 2s.",
    "framing.lines": "A number of lines that is a text; needs start.",
    "framing.timeout": "Longest time for a text; 60s, if not given.",
    "framing.checksum": "The checksum of a text; needs end.",
    "framing.answer": "What the analyzer waits for.",
    "framing.replies": "Answers to single control characters between texts: {<ENQ>: <ACK>}.",
    "framing.checksum.kind": "sum (default), negated-sum or xor of the bytes.",
    "framing.checksum.covers": "Which bytes: a list of start, text, end; the text alone, if not given.",
    "framing.checksum.place": "after (default) or before the end bytes.",
    "framing.checksum.written": "hex: two digits (default); byte: one byte.",
    "framing.checksum.check": "required (default); warn takes a text with a wrong one and counts it.",
    "framing.answer.good": "Sent once the text is durable.",
    "framing.answer.bad": "Sent where the checksum is wrong, or the text cannot be kept.",
    "text.as": "lines, fields (with a tag each) or csv (rows).",
    "text.ends": "as lines: what ends a line, where it is not CR, LF or both.",
    "text.separator": "as fields: what stands between two, as <RS>.",
    "text.until": "as fields: what ends the tag, as =.",
    "text.end": "as fields: what a field ends with beside the separator.",
    "text.delimiter": "as csv: between two cells; a comma, if not given.",
    "text.quote": 'as csv: around cells; ", if not given.',
    "text.skip_lines": "as csv: regular expression of lines that are not needed.",
    "text.tag": "as fields: how many characters the tag has.",
    "text.skip": "as csv: number of lines before the first row.",
    "text.header": "as csv: false where the first row does not name the columns; then they are 1, 2, 3.",
    "text.key": "as csv: columns that say which rows are one message.",
    "text.optional": "as csv: columns that may be missing.",
    "text.ignore": "as csv: columns that are not needed.",
    "rules.line": "Takes a line that matches this regular expression as a whole; (?P<name>...) names a part.",
    "rules.find": "Each match in a line that no other rule takes as a whole.",
    "rules.begins": "Takes a line that begins so; with columns.",
    "rules.columns": "With begins: characters by place, as {test: 2-5, rest: 11-}.",
    "rules.tag": "Takes the field with this tag; {value} is what follows.",
    "rules.value": "With tag: only where the field's value matches this regular expression.",
    "rules.each": "Once for each of these columns; {column} and {value}.",
    "rules.at_end_of": "Runs when a P, O or R record ends.",
    "rules.section": "Begins a section of this name, which in: asks for.",
    "rules.in": "Only inside these sections.",
    "rules.if": "Only where each of these names matches its regular expression.",
    "rules.set": "Fields, as R-4: a text with {names}, or {take: ..., time: ..., words: ...}.",
    "rules.remember": "Names for later rules: a text with {names}.",
    "rules.new": "Opens this record first.",
    "rules.amend": "Adds to fields of the record at hand.",
    "rules.skip": "true: the piece is taken, and means nothing.",
    "rules.no_result": "true: the piece is no result.",
    "rules.refuse": "Why a text with such a piece cannot be taken.",
    "take": "A text with {names}.",
    "time": "How the time is written, as %d/%m/%Y %H:%M; several are tried in this order.",
    "words": "What is written for a word: {Male: M}.",
}

TEST = {
    "test": "What it shows, in a sentence.",
    "description": _TEXT,
    "mapping": "The mapping; without it the shipped one for this kind of message.",
    "settings": "Settings of a channel, and timezone, channel, specimen_ids, patient_numbers, namespaces, received, "
    "charset, tables.",
    "given": "The message, as a block of text: given: |.",
    "file": "Or a file with the message, beside the test.",
    "hold": "Rules that hold results back, as a route has them: =value < 7.",
    "channel": "Map as this channel of the site does: its tables, settings and hold rules.",
    "earlier": "The patient's last values, by code: {718-7: '10.2'}.",
    "controls": "How controls ended, by code: passed or failed.",
    "expect": "What must come of it.",
    "test.expect.counts": "How many of each: {Observation: 1, results_in: 1}.",
    "test.expect.resources": "Resources: each takes the first that matches and is not taken yet.",
    "test.expect.segments": "to: hl7v2: segments, as resources.",
    "test.expect.rows": "to: csv: lines, as resources.",
    "test.expect.records": "to: json: records, as resources.",
    "test.expect.issues": "All warnings, by code or as {code, place, text}; an unexpected one fails. [] is none.",
    "test.expect.unmapped": "All codes that no table has.",
    "test.expect.unread": "Fields that are among those which no rule reads, as OBX-1.",
    "test.expect.dead": "The reason for which there is no document.",
    "test.expect.filtered": "The reason for which the message is left aside.",
    "test.expect.held": "Why it is held: a cause, {cause, why}, or no.",
    "test.expect.golden": "A file with the whole document; labrelay test --update writes it.",
    "when": "The expression; where it holds, the result is held.",
    "reason": "What a person is told.",
    "find": "Its type: Observation, OBX.",
    "has": "A part of it: what is not named may be anything. $absent, $any and $match pattern are possible.",
    "cause": "HELD_BY_RULE, HOLD_UNDECIDED or HOLD_FAULT.",
    "why": "What a person is told, or a part of that.",
    "code": "Of the warning, as UNMAPPED_CODE.",
    "place": "Where: OBX[3] or OBX[3]-5.",
    "text": "The words of the warning.",
    "rule": "The rule that warned: lab.yaml:31.",
    "severity": "warning.",
}


def described(schema: Schema, words: dict[str, str] | None = None) -> Schema:
    """The schema with a description for each of its keys.

    Raises:
        KeyError: one has none.
    """
    _describe(schema, "", {**EVERYWHERE, **(words or {})}, schema.get("definitions", {}))
    return schema


def _describe(node: Any, path: str, words: dict[str, str], known: dict[str, Schema]) -> None:
    for name, inner, is_key in _inside(node):
        here = f"{path}.{name}".removeprefix(".") if is_key else path
        if is_key and isinstance(inner, dict) and not _says(inner, known):
            if name.startswith("_"):
                word = f"Extensions of {name[1:]}, or its id."
            else:
                word = words.get(here) or words.get(name, "")
                if not word:
                    raise KeyError(f"{here} has no description: give it one where it is made, or in {__name__}")
            node["properties"][name] = inner = {**inner, "description": word}
        if name == "definitions" and not is_key:
            for definition, schema in inner.items():
                _describe(schema, definition.replace(".", "/"), words, known)
        else:
            _describe(inner, here, words, known)


def _inside(node: Any) -> Iterator[tuple[str, Any, bool]]:
    """The parts of a schema: their name, and whether that is a key of what it describes."""
    if isinstance(node, list):
        yield from (("", inner, False) for inner in node)
    elif isinstance(node, dict):
        for name, inner in list(node.items()):
            if name == "properties":
                yield from ((key, schema, True) for key, schema in list(inner.items()))
            else:
                yield name, inner, False


def _says(schema: Schema, known: dict[str, Schema]) -> bool:
    """Whether an editor has something to show: here, or where this refers to."""
    target = known.get(schema.get("$ref", "").removeprefix("#/definitions/"), {})
    return bool(schema.get("description") or target.get("description")) or set(schema) == {"const"}
