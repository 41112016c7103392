"""A real FHIR server for a benchmark: HAPI FHIR JPA on PostgreSQL, on 127.0.0.1, its data in a folder that goes away.

CPU time is the kernel's, of Java and of PostgreSQL with all its processes; on a busy machine one message costs twice as
much as on a quiet one. Statements, bytes and what Java allocates are the same on both.
"""

import json
import os
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.bench.processes import TICKS, free_ports

START_WITHIN_S = 180.0
HEAP = "-Xmx1g"
HERE = Path(__file__).parent / "hapi"
USER = "postgres"
COUNTING = "shared_preload_libraries=pg_stat_statements"


@dataclass(frozen=True, slots=True)
class Spent:
    """So far, or between two moments.

    Attributes:
        java_s, database_s: CPU time.
        allocated: bytes, by Java.
        size, log: bytes of the database, and of its write-ahead log.
        statements: of SQL.
    """

    java_s: float
    database_s: float
    allocated: int
    size: int
    log: int
    statements: int

    def since(self, before: "Spent") -> "Spent":
        return Spent(
            self.java_s - before.java_s,
            self.database_s - before.database_s,
            self.allocated - before.allocated,
            self.size - before.size,
            self.log - before.log,
            self.statements - before.statements,
        )


class FhirServer:
    """
    Args:
        folder: of the data; readable by PostgreSQL's user.
        classpath: a file with the classpath of Java.

    Attributes:
        url: of the FHIR server.
    """

    def __init__(self, folder: Path, classpath: Path) -> None:
        (self._port,) = free_ports(1)
        self._database = self._postgres(folder)
        self._java: subprocess.Popen[str] | None = None
        try:
            self._wait_for_database(folder)
            self._client("createdb", "fhir")
            self._sql("start.sql")
            self._java = self._hapi(folder, classpath)
            assert self._java.stdout is not None
            line = self._java.stdout.readline()
            if not line.strip().isdigit():
                raise RuntimeError((folder / "hapi.log").read_text(errors="replace")[-2000:])
            self._base = f"http://127.0.0.1:{int(line)}"
        except BaseException:
            self.stop()
            raise
        self.url = f"{self._base}/fhir"

    def _postgres(self, folder: Path) -> "subprocess.Popen[bytes]":
        data = folder / "data"
        data.mkdir()
        end = [_program("setpriv"), "--pdeathsig", "INT"]  # it ends with us, however we end
        if os.getuid() == 0:  # it does not run as root
            folder.chmod(0o755)
            shutil.chown(data, USER, USER)
            end += [f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]
        initdb = [_program("initdb"), "-D", str(data), "-A", "trust", "-U", USER, "--no-sync"]
        postgres = [_program("postgres"), "-D", str(data), "-p", str(self._port)]
        for each in ("listen_addresses=127.0.0.1", "unix_socket_directories=", COUNTING):
            postgres += ["-c", each]
        with (folder / "postgres.log").open("wb") as log:
            subprocess.run([*end, *initdb], check=True, stdout=log, stderr=log, cwd=data)  # noqa: S603
            return subprocess.Popen([*end, *postgres], stdout=log, stderr=log, cwd=data)  # noqa: S603

    def _wait_for_database(self, folder: Path) -> None:
        deadline = time.monotonic() + START_WITHIN_S
        while time.monotonic() < deadline and self._database.poll() is None:
            with suppress(subprocess.CalledProcessError):
                self._client("pg_isready")
                return
            time.sleep(0.1)
        raise RuntimeError((folder / "postgres.log").read_text(errors="replace")[-2000:])

    def _hapi(self, folder: Path, classpath: Path) -> "subprocess.Popen[str]":
        database = f"jdbc:postgresql://127.0.0.1:{self._port}/fhir?user={USER}"
        with (folder / "hapi.log").open("wb") as log:
            return subprocess.Popen(  # noqa: S603
                [
                    _program("java"), HEAP, "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", f"-Ddatabase={database}",
                    "-cp", classpath.read_text().strip(), str(HERE / "FhirServer.java"),
                ],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
            )  # fmt: skip

    def _client(self, program: str, *more: str) -> str:
        told = [_program(program), "-h", "127.0.0.1", "-p", str(self._port), "-U", USER, *more]
        return subprocess.run(told, check=True, capture_output=True, text=True).stdout  # noqa: S603

    def _sql(self, file: str) -> str:
        return self._client("psql", "-Atqf", str(HERE / file), "fhir")

    def spent(self) -> Spent:
        assert self._java is not None
        size, log, statements = map(int, self._sql("size.sql").split("|"))
        allocated = int(self._asked("GET", f"{self._base}/settings"))
        return Spent(
            _cpu_s(self._java.pid),
            _cpu_s(self._database.pid, ended=True) + sum(map(_cpu_s, _children(self._database.pid))),
            allocated,
            size,
            log,
            statements,
        )

    def set(self, settings: Mapping[str, str]) -> None:
        """Change settings of the running server; those that are not named are as shipped."""
        self._asked("POST", f"{self._base}/settings?{urllib.parse.urlencode(settings)}", b"")

    def take(self, bundle: dict[str, Any]) -> list[dict[str, Any]]:
        """The entries of the answer to a transaction."""
        answer = json.loads(self._asked("POST", self.url, json.dumps(bundle).encode()))
        return [entry["response"] for entry in answer["entry"]]

    def forget_searches(self) -> None:
        """Let resources be found by id and identifier alone: of all else, no index is kept from now on."""
        of: dict[tuple[str, str, str], list[str]] = {}
        for resource in json.loads(self._asked("GET", f"{self.url}/metadata"))["rest"][0]["resource"]:
            for one in resource.get("searchParam", ()):
                if "definition" in one and one["name"] != "identifier" and not one["name"].startswith("_"):
                    of.setdefault((one["definition"], one["name"], one["type"]), []).append(resource["type"])
        for number, ((definition, name, kind), types) in enumerate(of.items()):
            retired: dict[str, Any] = {
                "resourceType": "SearchParameter", "id": f"retired-{number}", "status": "retired", "base": types,
                "url": definition.partition("|")[0], "name": name, "code": name, "type": kind, "description": name,
                "expression": " | ".join(f"{one}.id" for one in types),
            }  # fmt: skip
            if kind == "composite":
                retired["component"] = [{"definition": definition, "expression": "id"}]
            if not WRITTEN.isdisjoint(types):
                self._asked("PUT", f"{self.url}/SearchParameter/retired-{number}", json.dumps(retired).encode())

    def _asked(self, method: str, url: str, body: bytes | None = None) -> bytes:
        headers = {"Content-Type": "application/fhir+json"}
        request = urllib.request.Request(url, body, headers, method=method)  # noqa: S310 - loopback
        with urllib.request.urlopen(request, timeout=120) as answer:  # noqa: S310
            found: bytes = answer.read()
        return found

    def stop(self) -> None:
        if self._java is not None:
            assert self._java.stdin is not None
            self._java.stdin.close()
            self._java.wait(60)
        self._database.terminate()
        self._database.wait(60)


# Types that a document of results has.
WRITTEN = {
    *("Patient", "Practitioner", "Organization", "Device", "ServiceRequest", "Specimen"),
    *("Observation", "DiagnosticReport", "Provenance"),
}


def _program(name: str) -> str:
    """Where a program is: Debian keeps PostgreSQL's server out of the path."""
    folders = [os.environ["PATH"], *map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True))]
    found = shutil.which(name, path=os.pathsep.join(folders))
    if found is None:
        raise RuntimeError(f"there is no {name}; on Debian or Ubuntu: apt install openjdk-17-jdk-headless postgresql")
    return found


def _children(pid: int) -> list[int]:
    return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def _cpu_s(pid: int, *, ended: bool = False) -> float:
    """User and system time; ``ended``: with that of its children that are gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(map(int, fields[11 : 15 if ended else 13])) / TICKS
