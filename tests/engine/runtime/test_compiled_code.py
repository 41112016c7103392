"""Compiled code is kept from one start to the next; whatever is wrong with a file, the code is compiled anew."""

import builtins
import importlib.util
import os
import random
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.mapping import Program
from engine.mapping.compiler import compilation
from engine.mapping.message.message_context import GENERATED
from engine.model.errors import ContentError
from engine.runtime.app import STALE_AFTER_S
from engine.runtime.compiled_code import COMPILE_WITHIN_S, FOLDER, MAX_FILES, CompiledCode
from tests.support.mapping_texts import HL7, Workshop, context, parse
from tests.support.running import QUICK, RunningSite, hl7_channel, make_running_site, running_app
from tests.support.senders import send_blocks
from tests.support.small_disk import small_disk
from tests.support.waiting import until
from workbench.bench.messages import oru
from workbench.sandbox import Sandbox

KEY = bytes(range(32))
STEPS = """
tables:
  analytes: {csv: t.csv, key: [code], on_missing: local}
steps:
  - each: PATIENT_RESULT
    do:
      - each: ORDER_OBSERVATION
        do:
          - each: OBSERVATION
            create: Observation
            key: =OBX-3.1
            body:
              status: final
              code: =coded(lookup('analytes', OBX-3.1), cwe(OBX-3))
              valueString: =OBX-5
              method: {text: PLANTEDWORD}
"""
TABLE = "code,loinc,name\nHGB,718-7,PLANTEDROW\n"


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    folder = tmp_path / "mappings"
    folder.mkdir()
    made = Workshop(folder)
    made.write("t.csv", TABLE)
    return made


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "var"
    folder.mkdir()
    return folder


def program(workshop: Workshop, text: str = STEPS) -> Program:
    """Read anew, as at a start."""
    return workshop.load(text)


def has_code(made: Program) -> bool:
    return all(generated.uncompiled is None for generated in made.plain.values())


def compile_all(data: Path, made: Program, key: bytes = KEY) -> None:
    code = CompiledCode(data, key)
    assert code.compile_next([made])
    assert not code.compile_next([made])
    assert has_code(made)


def is_kept(data: Path, made: Program, key: bytes = KEY) -> bool:
    CompiledCode(data, key).read([made])
    return has_code(made)


def the_file(data: Path) -> Path:
    (path,) = (data / FOLDER).iterdir()
    return path


def body(made: Program) -> bytes:
    (document,) = made.apply(parse(HL7), context()).documents
    return document.body


def test_code_is_kept_for_the_owner_alone_and_makes_the_same_documents(workshop: Workshop, data: Path) -> None:
    first = program(workshop)
    compile_all(data, first)
    assert stat.S_IMODE((data / FOLDER).stat().st_mode) == 0o700
    assert stat.S_IMODE(the_file(data).stat().st_mode) == 0o600
    later = program(workshop)
    assert is_kept(data, later)
    assert body(later) == body(first) == body(program(workshop))


def test_kept_code_names_the_rule_at_fault(workshop: Workshop, data: Path) -> None:
    text = STEPS.replace("status: final", "status: =lookup('0085', OBX-11)")
    compile_all(data, program(workshop, text))
    kept, fresh = program(workshop, text), program(workshop, text)
    assert is_kept(data, kept)
    parsed, details = parse(HL7.replace("|||F|||", "|||?|||")), set()
    for made in (kept, fresh):
        with pytest.raises(ContentError, match=r"m\.yaml:\d+") as caught:
            made.apply(parsed, context())
        details.add(caught.value.detail)
    assert len(details) == 1


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def changed(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize("harm", [cut, changed, lambda content: b"", lambda content: bytes(32) + content[32:]])
def test_a_file_with_a_wrong_hash_is_not_read(workshop: Workshop, data: Path, harm: Callable[[bytes], bytes]) -> None:
    compile_all(data, program(workshop))
    whole = the_file(data).read_bytes()
    the_file(data).write_bytes(harm(whole))
    made = program(workshop)
    assert not is_kept(data, made)
    compile_all(data, made)
    assert the_file(data).read_bytes() == whole


@pytest.mark.parametrize("become", [lambda path: path.symlink_to(path.parents[1] / "moved"), os.mkfifo, os.mkdir])
def test_only_a_file_is_read(workshop: Workshop, data: Path, become: Callable[[Path], None]) -> None:
    """No link, whatever it leads to, and no pipe, whose end would never come."""
    compile_all(data, program(workshop))
    path = the_file(data)
    path.rename(data / "moved")
    become(path)
    made = program(workshop)
    assert not is_kept(data, made)
    compile_all(data, made)
    assert body(made) == body(program(workshop))


def test_a_file_under_another_name_is_not_read(workshop: Workshop, data: Path) -> None:
    """It is code of other source, however sound."""
    compile_all(data, program(workshop))
    other = STEPS.replace("valueString: =OBX-5", "valueString: =OBX-6")
    kept = the_file(data)
    compile_all(data, program(workshop, other))
    (newer,) = set((data / FOLDER).iterdir()) - {kept}
    newer.write_bytes(kept.read_bytes())
    assert not is_kept(data, program(workshop, other))


def test_another_mapping_has_code_of_its_own(workshop: Workshop, data: Path) -> None:
    compile_all(data, program(workshop))
    assert not is_kept(data, program(workshop, STEPS.replace("valueString: =OBX-5", "valueString: =OBX-6")))


def test_other_words_and_rows_are_those_of_the_files_now(workshop: Workshop, data: Path) -> None:
    """Constants are not in the code, so it serves for these as well."""
    compile_all(data, program(workshop))
    workshop.write("t.csv", TABLE.replace("718-7", "59260-0"))
    made = program(workshop, STEPS.replace("PLANTEDWORD", "another word"))
    assert is_kept(data, made)
    assert b"another word" in body(made)
    assert b"59260-0" in body(made)
    assert b"718-7" not in body(made)


def test_another_python_or_site_compiles_anew(workshop: Workshop, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compile_all(data, program(workshop))
    assert not is_kept(data, program(workshop), key=bytes(32))
    monkeypatch.setattr(importlib.util, "MAGIC_NUMBER", b"\0\0\r\n")
    assert not is_kept(data, program(workshop))


def test_a_file_holds_no_word_of_a_mapping_and_nothing_received(workshop: Workshop, data: Path) -> None:
    made = program(workshop)
    compile_all(data, made)
    assert b"PLANTEDWORD" in body(made)
    content = the_file(data).read_bytes()
    for planted in (b"PLANTEDWORD", b"PLANTEDROW", b"718-7", b"4711", b"Doe", b"HGB", b"OBX", b"m.yaml"):
        assert planted not in content


def test_a_folder_that_cannot_be_written_costs_a_compilation_at_each_start(
    workshop: Workshop, data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (data / FOLDER).write_text("a file in the way")
    made = program(workshop)
    assert not is_kept(data, made)
    compile_all(data, made)
    assert "cannot be kept" in caplog.text
    assert body(made) == body(program(workshop))


def test_a_full_disk_costs_a_compilation_at_each_start(workshop: Workshop, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 1 << 20) as disk:
        disk.fill()
        made = program(workshop)
        compile_all(disk.path, made)
        assert list((disk.path / FOLDER).iterdir()) == []


def test_the_folder_keeps_the_code_used_last(workshop: Workshop, data: Path) -> None:
    compile_all(data, program(workshop))
    first = the_file(data)
    for number in range(MAX_FILES):
        path = data / FOLDER / f"{number}"
        path.write_bytes(b"old")
        os.utime(path, ns=(number, number))
    os.utime(first, ns=(0, 0))
    assert is_kept(data, program(workshop))  # used again
    compile_all(data, program(workshop, STEPS.replace("=OBX-5", "=OBX-6")))
    names = {path.name for path in (data / FOLDER).iterdir()}
    assert len(names) == MAX_FILES
    assert first.name in names
    assert "0" not in names


def test_without_another_process_code_is_compiled_here(
    workshop: Workshop, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    made = program(workshop)
    compile_all(data, made)
    assert body(made) == body(program(workshop))


def test_code_of_another_python_is_not_taken(
    workshop: Workshop, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where an update replaces Python below a running process: code of the new one would make this one crash."""
    updated = tmp_path / "python"
    lines = ["import runpy, sys", "sys.version, sys.argv[:] = 'newer', sys.argv[3:]"]
    lines += ["runpy.run_path(sys.argv[0], run_name='__main__')"]
    updated.write_text("\n".join([f"#!{sys.executable}", *lines, ""]))
    updated.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(updated))
    made = program(workshop)
    compile_all(data, made)
    assert not (data / FOLDER).exists()
    assert body(made) == body(program(workshop))


def test_a_compiler_that_hangs_is_given_up_before_intake_counts_as_hung() -> None:
    assert COMPILE_WITHIN_S < STALE_AFTER_S


def test_a_process_that_compiles_needs_nothing_of_ours() -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", compilation.__file__, "f", sys.version],
        input=b"x = 1\n",
        capture_output=True,
        check=True,
        env={},
    )
    assert done.stdout
    assert done.stderr == b""


class Counted:
    """Each thread that runs Python's compiler for generated code."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.threads: list[int] = []
        run = builtins.compile

        def counted(source: Any, filename: Any, *args: Any, **kwargs: Any) -> Any:
            if filename == GENERATED:
                self.threads.append(threading.get_ident())
            return run(source, filename, *args, **kwargs)

        monkeypatch.setattr(builtins, "compile", counted)


@pytest.mark.parametrize("start", ["cold", "warm"])
async def test_the_first_message_compiles_nothing_on_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: str
) -> None:
    sandbox = Sandbox()
    await sandbox.start()
    folder = make_running_site(
        tmp_path / "site", {"hl7": hl7_channel()}, {"lab-fhir": {"kind": "fhir", "url": sandbox.url, **QUICK}}
    )
    try:
        if start == "warm":
            async with running_app(folder, own_tables=True) as app:
                await until(lambda: all(map(has_code, app.parts.built.programs)))
        async with running_app(folder, own_tables=True) as app:
            counted = Counted(monkeypatch)
            site = RunningSite(folder, app, sandbox)
            if start == "warm":
                assert all(map(has_code, app.parts.built.programs))
            await send_blocks(site.port("hl7"), [oru(0, 1, random.Random(1))])
            await site.settled()
            assert site.ends() == ["delivered"]
            assert counted.threads == []
            assert {program.name for program in app.parts.built.programs} == {"hl7-results", "results-hl7"}
            assert all(map(has_code, app.parts.built.programs))
    finally:
        await sandbox.stop()
