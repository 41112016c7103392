"""`make validate-hapi`: documents of ABDM, as they go out, by HL7's validator and NRCeS' profiles of release 2.0.1.

    python -m tests.validation.abdm CLASSPATH

Samples, each report of the corpus that becomes a document, and one that is broken on purpose. Terminology is not asked
for: codes of SNOMED CT and LOINC are left unjudged. The profiles lie beside the repository.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.documents.test_abdm_documents import FILES, PDF_ONLY, SETTINGS, STRUCTURED, _with_number, verdict
from tests.support.abdm_documents import prepared
from tests.support.corpus import PROFILES, payloads

HERE = Path(__file__).parent
TIME_S = 900
ROOM = 5 * 1024 * 1024


def main() -> int:
    if not PROFILES.is_dir():
        print("the NRCeS profiles are not beside the repository: no document of ABDM is validated")
        return 0
    named = list(_documents())
    broken = _broken(named[0][1])
    found = _judged([*(body for _, body in named), broken], Path(sys.argv[1]))
    if not any(issue["severity"] == "error" for issue in found.pop()):
        print("the validator lets a document pass that was broken on purpose")
        return 1
    wrong = 0
    for (name, _), issues in zip(named, found, strict=True):
        for issue in issues:
            if issue["severity"] == "error":
                wrong += 1
                print(f"{name}: {issue['path']}: {issue['code']}: {issue['text']}")
    print(f"{len(named)} documents of ABDM by HL7's validator and the profiles of 2.0.1: {wrong} errors")
    return 1 if wrong else 0


def _documents() -> Iterator[tuple[str, bytes]]:
    for name, payload in (("structured", STRUCTURED), ("pdf", PDF_ONLY)):
        yield from _of(name, payload)
    for file in FILES:
        for number, payload in enumerate(payloads(file), 1):
            if b"ORU^R01" in payload[:500]:
                yield from _of(f"{file.name}, message {number}", _with_number(payload))


def _of(name: str, payload: bytes) -> Iterator[tuple[str, bytes]]:
    for made, _ in verdict(payload).documents:
        system = SETTINGS["abha_system"]
        yield name, prepared(made.body, version=1, max_bytes=ROOM, profile="2.0.1", system=system).body


def _broken(body: bytes) -> bytes:
    """Without the type of an entry of the section, which is the commonest mistake."""
    bundle = json.loads(body)
    del bundle["entry"][0]["resource"]["section"][0]["entry"][0]["type"]
    return json.dumps(bundle).encode()


def _judged(bodies: list[bytes], class_path: Path) -> list[list[dict[str, Any]]]:
    java = shutil.which("java")
    if java is None:
        raise SystemExit("java is missing")
    jars = class_path.read_text(encoding="utf-8").strip()
    command = [java, "-Xmx2g", "-cp", jars, str(HERE / "hapi" / "Validate.java"), str(PROFILES)]
    given = b"".join(body + b"\n" for body in bodies)
    done = subprocess.run(command, input=given, capture_output=True, timeout=TIME_S, check=False)
    if done.returncode:
        raise SystemExit(f"the validator failed:\n{done.stderr.decode(errors='replace')}")
    return [json.loads(line) for line in done.stdout.splitlines()]


if __name__ == "__main__":
    sys.exit(main())
