"""The evidence of a test run for the records of a laboratory: the tests, the software under test, and the outcome.

ISO 15189:2022 (7.6.3) wants software and its changes verified before use, with records. The report names each mapping
by the SHA-256 of its files, each test by that of its message, what was expected of it and how it went. It holds texts
of test files only, and nothing of the machine: the same tests of the same files give the same report and the same
digest anywhere, but for the time of the run. HTML in one file: no script, nothing from outside.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.mapping.program import Program
from engine.mapping.trying.expected_form import plain
from engine.mapping.trying.testing import Outcome
from engine.web.page_templates import templates

MAX_GIVEN = 20_000  # characters of a message that are printed; its digest is of all of it


def evidence_of(
    outcomes: Sequence[Outcome],
    problems: Sequence[str],
    *,
    coverage: Mapping[str, tuple[int, int]],
    laboratory: str,
    version: str,
    ran_at: str,
    in_use: Sequence[tuple[str, str, str]] = (),
    by: str = "",
) -> str:
    """The report.

    Args:
        problems: test files or mappings that could not be read, and so were not tested.
        coverage: mapping -> (rules that ran, rules).
        laboratory: the site's name; empty where there is no site.
        ran_at: in UTC. by: who ran the tests. These two are not part of the digest.
        in_use: (channel, mapping, digest) of what the site's channels map with.
    """
    tests = sorted((_test(outcome) for outcome in outcomes), key=lambda test: (test["file"], test["line"]))
    facts: dict[str, Any] = {
        "laboratory": laboratory,
        "version": version,
        "mappings": sorted(_mappings(outcomes, coverage), key=lambda one: (one["name"], one["hash"])),
        "in_use": [_use(*use, outcomes) for use in in_use],
        "tests": tests,
        "problems": list(problems),
        "passed": sum(test["passed"] for test in tests),
        "failed": sum(not test["passed"] for test in tests),
    }
    facts["sound"] = bool(tests) and not facts["failed"] and not facts["problems"]
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, ensure_ascii=True).encode()).hexdigest()
    page = templates(Path(__file__).parent).get_template("evidence.html")
    return page.render(facts, ran_at=ran_at, by=by, digest=digest)


def _use(channel: str, mapping: str, digest: str, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """A channel's mapping, and how many tests ran with the very same files; another table makes another mapping."""
    tests = sum(outcome.program is not None and outcome.program.content_hash == digest for outcome in outcomes)
    return {"channel": channel, "mapping": mapping, "digest": digest, "tests": tests}


def _mappings(outcomes: Sequence[Outcome], coverage: Mapping[str, tuple[int, int]]) -> Iterator[dict[str, Any]]:
    programs: dict[tuple[str, str], Program] = {}
    counts: dict[tuple[str, str], int] = {}
    for outcome in outcomes:
        if (program := outcome.program) is not None:
            key = program.name, program.content_hash
            programs[key] = program
            counts[key] = counts.get(key, 0) + 1
    for key, program in programs.items():
        ran, rules = coverage.get(program.name, (0, 0))
        yield {
            "name": program.name,
            "hash": program.content_hash,
            "structures": list(program.structures),
            "files": [{"name": name, "digest": digest} for name, digest in sorted(program.files.items())],
            "tests": counts[key],
            "rules_ran": ran,
            "rules": rules,
        }


def _test(outcome: Outcome) -> dict[str, Any]:
    test, program = outcome.test, outcome.program
    description, file = test.node.get("description"), test.node.get("file")
    given = test.given.decode("utf-8", "backslashreplace").replace("\r\n", "\n").replace("\r", "\n")
    return {
        "name": test.name,
        "file": test.node.file,
        "line": test.node.line,
        "description": description.value if description is not None else "",
        "mapping": f"{program.name}@{program.content_hash[:16]}" if program is not None else test.mapping,
        "settings": [f"{path} = {value}" for path, value in _flat(test.settings)] if test.settings else [],
        "digest": hashlib.sha256(test.given).hexdigest(),
        "given": "" if file is not None else _printable(given[:MAX_GIVEN]),
        "given_file": file.value if file is not None else "",
        "expected": list(_expected(outcome)),
        "passed": outcome.passed,
        "failures": [_printable(failure) for failure in outcome.failures],
    }


def _expected(outcome: Outcome) -> Iterator[str]:
    """The expectations, a line each; a golden file with its digest."""
    expect = outcome.test.expect
    for name, node in ((key.value, value) for key, value in expect.pairs) if expect is not None else ():
        content = plain(node)
        if name == "golden":
            path = outcome.test.folder / content
            digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "not there"
            yield f"the whole document is {content} (SHA-256 {digest})"
        elif name == "resources":
            for at, one in enumerate(content):
                lines = [f"{path} = {value}" for path, value in _flat(one.get("has", {}))]
                yield f"resources[{at}]: {one.get('find', '')} with {'; '.join(lines) or 'any content'}"
        elif content in ([], {}, ""):
            yield f"{name}: none"
        else:
            yield from (f"{name}{path and '.' + path.lstrip('.')} = {value}" for path, value in _flat(content))


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """The texts inside maps and lists, with their paths."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _flat(inner, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list) and value:
        for at, inner in enumerate(value):
            yield from _flat(inner, f"{path}[{at}]")
    else:
        yield path, "empty" if value in ({}, [], "") else str(value)


def _printable(text: str) -> str:
    """Control characters as escapes: HTML cannot hold them."""
    return "".join(sign if sign.isprintable() or sign == "\n" else f"\\x{ord(sign):02x}" for sign in text)
