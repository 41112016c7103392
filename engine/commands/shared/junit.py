"""Runs of tests as JUnit XML, as build servers read it (the schema of Jenkins' xUnit plug-in, which Ant's began).

testsuites > testsuite, one a file > testcase > failure: not as expected | error: could not be run
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element, SubElement, tostring

from engine.mapping.testing import Outcome


@dataclass(slots=True)
class FileRun:
    """The tests of one file.

    Attributes:
        outcomes: each with the seconds it took.
        errors: what kept others of the file from running, by the test's name; the file's own where none could be read.
    """

    file: str
    outcomes: list[tuple[Outcome, float]] = field(default_factory=list)
    errors: list[tuple[str, Sequence[str]]] = field(default_factory=list)


def junit_report(runs: Sequence[FileRun]) -> bytes:
    root = Element("testsuites", name="mappings")
    for run in runs:
        suite = SubElement(root, "testsuite", name=run.file)
        for outcome, seconds in run.outcomes:
            case = _case(suite, outcome.test.name, run.file, seconds)
            if not outcome.passed:
                _trouble(case, "failure", [*outcome.failures, *outcome.help])
        for name, problems in run.errors:
            _trouble(_case(suite, name, run.file, 0.0), "error", problems)
        _total(suite, [run])
    _total(root, runs)
    report: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return report + b"\n"


def _case(suite: Element, name: str, file: str, seconds: float) -> Element:
    return SubElement(suite, "testcase", name=_text(name), classname=file, time=f"{seconds:.3f}")


def _trouble(case: Element, kind: str, lines: Sequence[str]) -> None:
    found = SubElement(case, kind, message=_text(lines[0]), type=kind)
    found.text = _text("\n".join(lines))


def _total(element: Element, runs: Sequence[FileRun]) -> None:
    tests = sum(len(run.outcomes) + len(run.errors) for run in runs)
    failures = sum(not outcome.passed for run in runs for outcome, _ in run.outcomes)
    errors = sum(len(run.errors) for run in runs)
    seconds = sum(taken for run in runs for _, taken in run.outcomes)
    for name, value in (("tests", tests), ("failures", failures), ("errors", errors)):
        element.set(name, str(value))
    element.set("time", f"{seconds:.3f}")


def _text(text: str) -> str:
    """Without the characters that XML cannot hold."""
    return "".join(sign if sign in "\t\n" or " " <= sign < "\ufffe" or sign > "\uffff" else "�" for sign in text)
