"""`make validate`: every document that is made of the messages at hand, judged by three validators; 0 errors wanted.

    python -m tests.validation --modules FOLDER [--hapi CLASSPATH] [--write]

The validators: the models of `fhir.resources` with what the suite checks beside them, Medplum's `validateResource`
(`medplum.mjs`), our own check of bindings, codes and references against the published definitions (`own_check.py`), and
where it is asked for HAPI's validator (`hapi/Validate.java`).
Before anything else each is given a Bundle that was broken on purpose: one that lets everything pass is found out.

Warnings are listed by kind. A kind that explained.tsv does not explain fails the run, and so does an explanation
that explains nothing any more.
"""

import argparse
import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from engine.mapping.fhir.validity import load
from tests.documents.test_samples import run as run_sample
from tests.support.corpus import CORPUS
from tests.support.fhir_check import faults
from tests.validation.definitions import Definitions
from tests.validation.documents import Documents, everything
from tests.validation.issues import Explained, Issue, explained, place
from tests.validation.own_check import issues
from tools import figures

SHOWN = 5  # sources named for one kind of issue
TIME_S = 900  # of one validator for all documents
HERE = Path(__file__).parent

Json = dict[str, Any]
Judge = Callable[[list[bytes]], list[list[Issue]]]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.validation", description=__doc__.split("\n")[0])
    parser.add_argument("--modules", type=Path, required=True, help="folder node_modules, as `make validate` makes it")
    parser.add_argument("--hapi", type=Path, help="file with HAPI's class path, as `make validate-hapi` makes it")
    parser.add_argument("--write", action="store_true", help="keep the figures in docs/figures-documents.md")
    arguments = parser.parse_args()
    definitions = Definitions(arguments.modules)
    validators: dict[str, Judge] = {
        "fhir.resources": lambda bodies: [_of_models(body) for body in bodies],
        "medplum": lambda bodies: _of_medplum(bodies, arguments.modules),
        "own check": lambda bodies: [issues(load(body), definitions) for body in bodies],
    }
    if arguments.hapi:
        validators = {"hapi": lambda bodies: _of_hapi(bodies, arguments.hapi)}
    if sum(len(_unseen(name, judge)) for name, judge in validators.items()):
        return 1
    documents = everything()
    if not CORPUS.is_dir():
        print("the corpus of messages is not beside the repository: samples and tests of mappings only")
    _tell_of_documents(documents)
    known = explained()
    wrong = sum(_judged(name, judge, documents, known, write=arguments.write) for name, judge in validators.items())
    print("0 errors; every warning is explained" if not wrong else f"{wrong} findings")
    return 1 if wrong else 0


def _tell_of_documents(documents: Documents) -> None:
    kinds = Counter(entry["resource"]["resourceType"] for made in documents.made for entry in load(made.body)["entry"])
    print(f"{len(documents.made)} Bundles with {kinds.total()} resources:", _counted(kinds))
    without = {reason: len(sources) for reason, sources in documents.without.items()}
    print("messages without one, by reason:", _counted(without))
    print("messages of other types:", _counted(documents.not_taken))


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


def _judged(name: str, judge: Judge, documents: Documents, known: Iterable[Explained], *, write: bool) -> int:
    """Print what one validator says; the number of kinds of issues that may not be."""
    kinds: dict[tuple[str, str, str, str], list[str]] = {}
    for made, found in zip(documents.made, judge([made.body for made in documents.made]), strict=True):
        bundle = load(made.body)
        for issue in found:
            kind = (issue.severity, issue.code, place(issue.path, bundle), issue.text)
            kinds.setdefault(kind, []).append(f"{made.source}, {issue.path}")
    print(f"\n{name}: {sum(map(len, kinds.values()))} issues of {len(kinds)} kinds")
    rows = [row for row in known if row.validator == name]
    wrong, used, severe = 0, Counter[Explained](), 0
    for (severity, code, where, text), sources in sorted(kinds.items()):
        row = next((row for row in rows if severity == "warning" and row.covers(code, where)), None)
        print(f"  {severity} {len(sources)} x {code} {where}: {text}" + (f" ({row.why})" if row else ""))
        severe += len(sources) if severity == "error" else 0
        if row is None:
            wrong += 1
            print(*(f"    {source}" for source in sources[:SHOWN]), sep="\n")
        else:
            used[row] += len(sources)
    for row in rows:
        if row not in used and CORPUS.is_dir():
            wrong += 1
            print(f"  explained.tsv explains {row.code} {row.place}, which does not occur: remove the row")
    if write:
        now = figures.measured()
        judged = (name, len(documents.made), severe, used.total(), now)
        figures.write("documents", "Validators", ("validator", "Bundles", "errors", "explained warnings"), [judged])
        stay = [(f"{name}: {row.code}, {row.place}", used[row], row.why, now) for row in rows]
        figures.write("documents", "Warnings that stay", ("kind and place", "number", "why"), stay)
    return wrong


def _of_models(body: bytes) -> list[Issue]:
    return [Issue("error", "model", *fault.partition(": ")[::2]) for fault in faults(body)]


def _of_medplum(bodies: list[bytes], modules: Path) -> list[list[Issue]]:
    return _of_program(bodies, "node", str(HERE / "medplum.mjs"), str(modules.resolve()))


def _of_hapi(bodies: list[bytes], class_path: Path) -> list[list[Issue]]:
    jars = class_path.read_text(encoding="utf-8").strip()
    return _of_program(bodies, "java", "-Xmx2g", "-cp", jars, str(HERE / "hapi" / "Validate.java"))


def _of_program(bodies: list[bytes], name: str, *arguments: str) -> list[list[Issue]]:
    """What a program says that reads Bundles and writes lists of issues, one a line."""
    program = shutil.which(name)
    if program is None:
        raise SystemExit(f"{name} is missing")
    given = b"".join(body.replace(b"\n", b" ") + b"\n" for body in bodies)
    done = subprocess.run([program, *arguments], input=given, capture_output=True, timeout=TIME_S, check=False)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr.decode(errors='replace')}")
    return [[Issue(**issue) for issue in json.loads(line)] for line in done.stdout.splitlines()]


# -- broken on purpose ---------------------------------------------------------------------------------------------


def _first(bundle: Json, kind: str) -> Json:
    found: Json = next(entry["resource"] for entry in bundle["entry"] if entry["resource"]["resourceType"] == kind)
    return found


def _change(kind: str, name: str, value: Any) -> Callable[[Json], None]:
    def damage(bundle: Json) -> None:
        _first(bundle, kind)[name] = value

    return damage


MODELS, OWN, OTHERS = "fhir.resources", "own check", ("medplum", "hapi")
ALL = (MODELS, OWN, *OTHERS)
FURLONGS = {"value": 1, "unit": "x", "system": "http://unitsofmeasure.org", "code": "furlong"}
NO_SECTION = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0074", "code": "nonsense"}]}
ENGLISH = {"language": {"coding": [{"system": "urn:labrelay:codes:x", "code": "ENG-UK"}]}}
NOWHERE = "urn:uuid:00000000-0000-8000-8000-000000000000"
CANARIES: tuple[tuple[str, Callable[[Json], None], tuple[str, ...]], ...] = (
    ("an element that there is not", _change("Observation", "nonsense", "x"), ALL),
    ("a status that there is not", _change("Observation", "status", "nonsense"), (MODELS, OWN, "hapi")),
    ("no status", lambda bundle: _first(bundle, "Observation").pop("status"), (MODELS, *OTHERS)),
    ("a number as text", _change("Observation", "valueQuantity", {"value": "7.40"}), (MODELS, *OTHERS)),
    ("a value and a reason for none", _change("Observation", "dataAbsentReason", {"text": "x"}), (MODELS, *OTHERS)),
    ("a list where one is allowed", _change("Observation", "subject", [{"display": "x"}]), OTHERS),
    ("a reference that leads nowhere", _change("Observation", "subject", {"reference": NOWHERE}), (MODELS, OWN)),
    ("31 February", _change("Observation", "effectiveDateTime", "2026-02-31"), (OWN, "hapi")),
    ("a unit that UCUM does not have", _change("Observation", "valueQuantity", FURLONGS), (OWN, "hapi")),
    ("a code that its system does not have", _change("DiagnosticReport", "category", [NO_SECTION]), (OWN, "hapi")),
    ("a language that is none", _change("Patient", "communication", [ENGLISH]), (OWN, "hapi")),
    ("a fullUrl twice", lambda bundle: bundle["entry"][1].update(fullUrl=bundle["entry"][0]["fullUrl"]), (MODELS, OWN)),
)


def _unseen(name: str, judge: Judge) -> list[str]:
    """What a validator should have seen in a Bundle that is good but for one thing."""
    verdict, _ = run_sample("mindray_bc5380/01-blood-count.hl7")
    good = verdict.documents[0][0].body
    bodies, told = [good], ["nothing"]
    for what, damage, by in CANARIES:
        if name in by:
            bundle = json.loads(good)
            damage(bundle)
            bodies.append(json.dumps(bundle).encode())
            told.append(what)
    found = [[issue for issue in one if issue.severity == "error"] for one in judge(bodies)]
    unseen = [what for what, errors in zip(told[1:], found[1:], strict=True) if not errors]
    for what in unseen:
        print(f"{name}: does not see {what}")
    if found[0]:
        print(f"{name}: the good Bundle of the trial is not good: {found[0][0].text}")
        unseen.append("that a good one is good")
    return unseen


if __name__ == "__main__":
    sys.exit(main())
