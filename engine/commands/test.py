"""Run the tests of mappings.

Without files: all of mappings/tests, of the site and of LabRelay. A failure shows the differences by path, then what
the mapping made of the message and why.

--evidence writes a report for the laboratory's records: each mapping with the digests of its files, each test with that
of its message, the expectation and the result. One HTML file to keep or print.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, tostring

import click

from engine.commands.shared.output import ExitCode, say
from engine.commands.shared.selecting import file_option
from engine.commands.shared.session import Session, pass_session
from engine.config.site import mapping_path
from engine.mapping.hold_rules.rules import HoldRules
from engine.mapping.program import Program
from engine.mapping.trying.inputs import Mapper
from engine.mapping.trying.testing import Outcome, Runner, read_tests
from engine.model.errors import ConfigError
from engine.model.message import Parsed

GROUP = "mapping"


@dataclass(slots=True)
class FileRun:
    """The tests of one file.

    Attributes:
        outcomes: each with the seconds it took.
        errors: reasons why others of the file could not run, by the test's name; the file's own where none could be
            read.
    """

    file: str
    outcomes: list[tuple[Outcome, float]] = field(default_factory=list)
    errors: list[tuple[str, Sequence[str]]] = field(default_factory=list)


@click.command(help=__doc__)
@click.argument("files", nargs=-1, metavar="[FILE...]", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--update",
    is_flag=True,
    help="Write golden files instead of comparing with them. Read the diff before you keep it.",
)
@click.option("--coverage", is_flag=True, help="List the rules that no test ran.")
@file_option("--junit", help="Write a JUnit report.")
@file_option("--evidence", help="Write a report for an assessor (ISO 15189), as one HTML file.")
@click.option("--by", metavar="NAME", default="", help="With --evidence: who ran the tests, as the report names them.")
@pass_session
def command(
    session: Session,
    /,
    files: tuple[Path, ...],
    update: bool,
    coverage: bool,
    junit: Path | None,
    evidence: Path | None,
    by: str,
) -> ExitCode:
    if by and evidence is None:
        raise click.UsageError("--by names who ran the tests in the report of --evidence: give both")
    if evidence is not None and update:
        raise click.UsageError("--update writes what is expected; evidence is of a run that compares: give one of them")
    search = mapping_path(session.folder_or_none)
    runner = Runner(update=update, measure=coverage or evidence is not None)
    if session.folder_or_none is not None:
        runner.rules_of = partial(_rules_of, session)
        runner.as_channel = partial(_as_channel, session)
    runs = [_run_file(runner, path, folders) for path, folders in _test_files(files, search)]
    outcomes = [outcome for run in runs for outcome, _ in run.outcomes]
    problems = list(dict.fromkeys(line for run in runs for _, lines in run.errors for line in lines))
    if not outcomes and not problems:
        say("no tests found; a test is a file in mappings/tests")
    failed = sum(not outcome.passed for outcome in outcomes)
    click.echo(f"{len(outcomes) - failed} passed, {failed} failed")
    if coverage:
        for line in _uncovered(runner):
            click.echo(line)
    if junit is not None:
        junit.write_bytes(junit_report(runs))
    if evidence is not None:
        _write_evidence(evidence, session, runner, outcomes, problems, by)
    if problems:
        raise ConfigError(*problems)
    return ExitCode.FAILED if failed else ExitCode.OK


def _run_file(runner: Runner, path: Path, folders: tuple[Path, ...]) -> FileRun:
    """Run the tests of a file; an error in one of them does not keep the others from running."""
    run = FileRun(path.name)
    try:
        tests = read_tests(path)
    except ConfigError as error:
        run.errors.append((path.name, error.problems))
        return run
    for test in tests:
        begin = time.perf_counter()
        try:
            outcome = runner.run(test, folders)
        except ConfigError as error:
            run.errors.append((test.name, error.problems))
            continue
        run.outcomes.append((outcome, time.perf_counter() - begin))
        _report(outcome)
    return run


def _test_files(files: tuple[Path, ...], search: tuple[Path, ...]) -> Iterator[tuple[Path, tuple[Path, ...]]]:
    """Test files, each with the folders in which its mapping is looked for.

    The tests that ship are about the mappings that ship, also where a site has mappings of the same names.
    """
    for given in files:
        for path in sorted(given.glob("*.yaml")) if given.is_dir() else [given]:
            yield path, search
    if not files:
        for at, folder in enumerate(search):
            yield from ((path, search[at:]) for path in sorted((folder / "tests").glob("*.yaml")))


def _rules_of(session: Session, name: str, parsed: Parsed, program: Program) -> HoldRules | None:
    """The hold rules of a channel's route, for a test that names the channel.

    Raises:
        ConfigError: the site is wrong, or has no such channel.
    """
    from engine.commands.shared.mapping_options import mapper_for

    return mapper_for(session, channel=name).holding_for(parsed, program)


def _as_channel(session: Session, name: str, mapping: str) -> Mapper | None:
    """A mapper that does as this channel of the site, for a test that names it; None where there is no such channel.

    Raises:
        ConfigError: the site is wrong.
    """
    from engine.commands.shared.mapping_options import channel_mapper

    site = session.load_corrected()
    return channel_mapper(site, name, mapping=mapping) if name in site.channels else None


def _report(outcome: Outcome) -> None:
    if outcome.updated:
        click.echo(f"wrote {outcome.updated}")
    if outcome.passed:
        return
    click.echo(f"FAILED {outcome.test.place} {outcome.test.name}")
    for failure in outcome.failures:
        click.echo(f"  {failure}")
    for line in outcome.help:
        click.echo(f"    {line}")


def _write_evidence(
    path: Path, session: Session, runner: Runner, outcomes: list[Outcome], problems: list[str], by: str
) -> None:
    from engine.commands.evidence import evidence_of
    from engine.commands.version import labrelay_version
    from engine.model.process.clock import SystemClock

    report = evidence_of(
        outcomes,
        problems,
        coverage={name: (len(rules) - len(missing), len(rules)) for name, rules, missing in _coverage(runner)},
        laboratory=_laboratory(session),
        version=labrelay_version(),
        in_use=list(_in_use(session)),
        by=by,
        ran_at=SystemClock().now().strftime("%Y-%m-%d %H:%M:%S UTC"),
    )
    path.write_text(report, encoding="utf-8")


def _in_use(session: Session) -> Iterator[tuple[str, str, str]]:
    """(channel, mapping, digest) of everything that the site's channels map with; nothing where it cannot be read."""
    from engine.commands.shared.mapping_options import channel_mapper

    if session.folder_or_none is None:
        return
    try:
        site = session.load_corrected()
        for name, config in sorted(site.channels.items()):
            if config.enabled and any(route.mapping is not None for route in config.routes):
                for program in channel_mapper(site, name).programs():
                    yield name, program.name, program.content_hash
    except ConfigError:
        return


def _laboratory(session: Session) -> str:
    """The site's name; empty where there is no site, or its configuration cannot be read."""
    try:
        return session.load(require_secrets=False).config.site.name if session.folder_or_none is not None else ""
    except ConfigError:
        return ""


def _uncovered(runner: Runner) -> Iterator[str]:
    """Rules that no test ran, by mapping."""
    for name, rules, missing in _coverage(runner):
        share = 100 * (len(rules) - len(missing)) // max(1, len(rules))
        yield f"{name}: {share} % of {len(rules)} rules ran"
        yield from (f"  never run: {rule}" for rule in missing)


def _coverage(runner: Runner) -> Iterator[tuple[str, set[str], list[str]]]:
    """(mapping, its rules, those that no test ran); a rule counts as run if it did for one structure."""
    ran: dict[str, set[str]] = {}
    for (name, _structure), rules in runner.covered.items():
        ran.setdefault(name, set()).update(rules)
    known = {program.name: program.rule_lines for program in runner.programs.values()}
    for name, all_rules in sorted(known.items()):
        yield name, set(all_rules), sorted(all_rules - ran.get(name, set()), key=_by_line)


def _by_line(rule: str) -> tuple[str, int]:
    file, _, line = rule.rpartition(":")
    return file, int(line)


# -- JUnit ---------------------------------------------------------------------------------------------------------


def junit_report(runs: Sequence[FileRun]) -> bytes:
    """Runs as JUnit XML, as build servers read it (the schema of Jenkins' xUnit plug-in, which Ant's began).

    testsuites > testsuite, one a file > testcase > failure: not as expected | error: could not be run
    """
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
