"""The process of one trial: it reads a message and a mapping from its standard input, and answers with all that the
page `/try` shows of them, as plain data.

Nothing raises for what people write: a mapping that cannot be right gives problems with their places, a message that
cannot be read or is dead gives the reason, and a fault of ours its kind (its own words may quote the message).

Trials of mappings for the page `/try`: one at a time, each in a process of its own that ends with it.

So a mapping that loops, or a message that takes all memory, costs a trial and not the daemon; and what a person pasted
is gone with the process. Request and answer are JSON behind their length (`HEAD`).
"""

import asyncio
import contextlib
import io
import os
import re
import resource
import struct
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from engine.commands.shared.mapping_options import ChannelMapper, channel_mapper, mapper_for
from engine.commands.shared.session import Session
from engine.mapping.explanations.explaining import Leaf
from engine.mapping.explanations.trace import Trace
from engine.mapping.program import Program
from engine.mapping.trying.inputs import FoundMessage
from engine.model.errors import ConfigError, ContentError
from engine.model.process.parent import die_with_parent
from engine.model.process.priority import give_way
from engine.views.document_lines import lines_of, pointer_of

GIVES_WAY = 10  # nice: analyzers are answered on the same machine
MAX_CPU_S = 20  # also where the process that waits for the answer hangs
MAX_MEMORY_BYTES = 2 * 1024**3  # of addresses; a trial of a message of the largest size takes a tenth of it
MAX_EXPLAINED_BYTES = 4 * 1024 * 1024  # of a document; a larger one is shown as far as it is, without explanations
MAX_LEAVES = 20_000
_PROBLEM = re.compile(r"(?P<file>[^:]+):(?P<line>\d+):(?P<column>\d+): (?P<text>.*)", re.DOTALL)

Json = dict[str, Any]


def tried(*, site: str, channel: str, scratch: str, mapping: str, text: str, message: str, charset: str) -> Json:
    """Process a message as a channel would, and describe the result.

    Args:
        scratch: a folder for the edited mapping.
        mapping: its name; empty for the one of the channel's route, or of the message's kind.
        text: an edited text of the mapping; empty: as its file has it.
        message: the text of one message, or of several; the first is used.
        charset: the encoding of its bytes.
    """
    made: Json = {"problems": []}
    try:
        if text:
            (Path(scratch) / f"{mapping}.yaml").write_text(text, encoding="utf-8")
        _try(made, _mapper(site, channel, mapping, Path(scratch)), bytes_of(message, charset))
    except ConfigError as error:
        made["problems"] += [_problem(line, "error") for line in error.problems]
    except ContentError as error:
        made["dead"] = _reason(error.reason.value, error.place, error.detail or error.reason.help)
    except Exception as error:
        made["dead"] = _reason("MAPPING_FAULT", "", f"a fault inside LabRelay: {type(error).__name__}")
    return made


def bytes_of(text: str, charset: str) -> bytes:
    """The text as bytes; a character that the set does not have makes it UTF-8, as a new message would be."""
    try:
        return text.encode(charset)
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")


def _mapper(site: str, channel: str, mapping: str, first: Path) -> ChannelMapper:
    """The mapper that maps as the channel would, with the files of the folder ``first`` in place of others.

    Raises:
        ConfigError: site or channel is wrong.
    """
    session = Session(site=site)
    if channel:
        made = channel_mapper(session.load_corrected(), channel, mapping=mapping)
    else:
        made = mapper_for(session, mapping=mapping)
    made.look_first_in(first)
    return made


def _try(made: Json, mapper: ChannelMapper, data: bytes) -> None:
    if mapper.mapping:
        _add_program(made, mapper.program(mapper.mapping))  # its problems are reported for any message
    found = next(iter(mapper.messages_in(data)), FoundMessage(data, ""))
    parsed = mapper.read(found)
    made["issues"] = [asdict(issue) for issue in parsed.warnings]
    program = mapper.program_for(parsed)
    if not mapper.mapping:
        _add_program(made, program)
    trace = program.explain(parsed, mapper.context_for(parsed, found.payload))
    made["issues"] += [asdict(issue) for issue in trace.issues]
    if trace.mapped is not None:
        differing = mapper.differing(parsed, found.payload, program, trace.mapped)
        made["issues"] += [asdict(issue) for issue in differing]
    made["unread"] = list(trace.unread)
    _add_outcome(made, trace)


def _add_program(made: Json, program: Program) -> None:
    made["problems"] += [_problem(line, "error") for line in program.doubts]
    made["problems"] += [_problem(line, "warning") for line in program.problems]
    made["mapping"] = {"name": program.name, "hash": program.content_hash[:12]}


def _add_outcome(made: Json, trace: Trace) -> None:
    if trace.error is not None:
        error = trace.error
        made["dead"] = _reason(error.reason.value, error.place, error.detail or error.reason.help)
    mapped = trace.mapped
    if mapped is None:
        return
    if mapped.filtered is not None:
        made["filtered"] = _reason(mapped.filtered.value, "", mapped.filtered.help)
    made["unmapped"] = [asdict(one) for one in mapped.unmapped]
    if mapped.documents:
        document = mapped.documents[0]
        leaves = trace.leaves[:MAX_LEAVES] if len(document.body) <= MAX_EXPLAINED_BYTES else ()
        in_json = "json" in document.media_type
        lines, made["more"] = lines_of(document.body, document.media_type, ((leaf.path, leaf.value) for leaf in leaves))
        made["lines"] = [[line.depth, line.text, line.pointer] for line in lines]
        made["leaves"] = [
            _leaf(leaf, leaf.pointer or (pointer_of(leaf.path) if in_json else leaf.path)) for leaf in leaves
        ]


def _leaf(leaf: Leaf, pointer: str) -> Json:
    """All but its value, which is in the document."""
    return {"pointer": pointer, "rule": leaf.rule, "function": leaf.function, "sources": leaf.sources}


def _problem(line: str, severity: str) -> Json:
    match = _PROBLEM.fullmatch(line)
    if match is None:
        return {"severity": severity, "file": "", "line": 0, "column": 0, "text": line}
    return {
        "severity": severity,
        "file": Path(match["file"]).name if match["file"].startswith("/") else match["file"],
        "line": int(match["line"]),
        "column": int(match["column"]),
        "text": match["text"],
    }


def _reason(code: str, place: str, text: str) -> Json:
    return {"reason": code, "place": place, "text": text}


def main() -> None:
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    sys.stdout = io.TextIOWrapper(sys.stderr.buffer)  # stray output must not get into the answer
    with suppress(ValueError, OSError):  # where the system has no such limit, it goes without
        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CPU, (MAX_CPU_S, MAX_CPU_S))
    die_with_parent()
    give_way(GIVES_WAY)
    (length,) = HEAD.unpack(requests.read(HEAD.size))
    answer = orjson.dumps(tried(**orjson.loads(requests.read(length))))
    answers.write(HEAD.pack(len(answer)) + answer)
    answers.flush()


MODULE = "engine.commands.shared.trying"
WITHIN_S = 10.0
MAX_ANSWER_BYTES = 128 * 1024 * 1024
HEAD = struct.Struct(">I")
BUSY = "another trial is running; try again in a few seconds"
ENDED = "this took more memory than it may, or failed, and was ended"


class SiteTrials:
    """Tries mappings as a site's channels would use them."""

    def __init__(self, site: Path, *, within_s: float = WITHIN_S) -> None:
        self._site = site
        self._within_s = within_s
        self._running = False

    async def __call__(self, channel: str, mapping: str, text: str, message: str, charset: str) -> Mapping[str, Any]:
        """As `engine.commands.shared.trying.tried` has it; ``{"trouble": ...}`` where there is nothing."""
        if self._running:
            return {"trouble": BUSY}
        self._running = True
        folder = await asyncio.to_thread(tempfile.TemporaryDirectory, prefix="labrelay-try-")
        request = {"site": str(self._site), "channel": channel, "scratch": folder.name}
        request |= {"mapping": mapping, "text": text, "message": message, "charset": charset}
        try:
            return await asyncio.wait_for(_answer(orjson.dumps(request)), self._within_s)
        except TimeoutError:
            return {"trouble": f"this took longer than {self._within_s:g} s and was ended"}
        except (OSError, asyncio.IncompleteReadError):
            return {"trouble": ENDED}
        finally:
            await asyncio.to_thread(folder.cleanup)
            self._running = False


async def _answer(request: bytes) -> Mapping[str, Any]:
    """What a new process answers; it is ended however this ends. ``-P`` keeps modules of the current folder out."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", MODULE, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(HEAD.pack(len(request)) + request)
        await process.stdin.drain()
        (length,) = HEAD.unpack(await process.stdout.readexactly(HEAD.size))
        if length > MAX_ANSWER_BYTES:
            raise OSError("an answer out of bounds")
        answer: Mapping[str, Any] = orjson.loads(await process.stdout.readexactly(length))
        return answer
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


if __name__ == "__main__":
    main()
