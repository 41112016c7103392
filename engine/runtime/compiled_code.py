"""Compiled code of mappings: kept in the data folder from one start to the next, and made in a short process.

Python's compiler takes 25 MiB and 100 ms for a large mapping. So no message waits for it, nor does the event loop:
what was compiled before is read while a site is built (10 ms for a structure), and the rest is compiled in processes of
its own (`engine.mapping.compiler.compilation`) before the first message is mapped.

    compiled/NAME       32 bytes  keyed hash of NAME and the code
                        code      of marked source, as `marshal` writes it
    NAME                keyed hash over the source, this Python, and the modules that make code of source

The source is generated anew at each start, from mapping, tables and functions as they are then. Constants are not in
it: they are put into the code once it is read. So code of another mapping, of other tables or of another release has
another name, and a file holds neither what a site wrote nor what was received. `marshal` trusts what it reads; so a
file is read only where its hash, under a key of the site, is right. Any other file is as good as none, and the folder
may be removed at any time.
"""

import asyncio
import hmac
import importlib.util
import logging
import marshal
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from types import CodeType

from engine.mapping import Program
from engine.mapping.compiler import compilation
from engine.mapping.compiler.source import code, registers
from engine.mapping.generated import Generated, Uncompiled
from engine.mapping.message.message_context import GENERATED
from engine.runtime.programs import Programs
from engine.store.core.files.durable import write_atomically

logger = logging.getLogger("labrelay.site")

FOLDER = "compiled"
MAX_FILES = 64  # of some 400 kB; a large site has 20
MAX_FILE_BYTES = 8 * 1024 * 1024  # the largest mapping has 2 MB
COMPILE_WITHIN_S = 20.0  # then in this process, before intake counts as hung (`engine.runtime.app.STALE_AFTER_S`)
_HASH_BYTES = 32
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH")  # what Python may need to start; no key is among them
_MAKERS = (code, registers, compilation)


class CompiledCode:
    """The compiled code of one data folder. Any thread may call it."""

    def __init__(self, data: Path, site_key: bytes) -> None:
        """``site_key``: 32 bytes; the key of the hashes is derived from it."""
        self._folder = data / FOLDER
        self._key = blake2b(b"compiled code", key=site_key).digest()
        made_by = self._hash(b"made by")
        for part in (importlib.util.MAGIC_NUMBER, sys.version.encode(), *_sources_of_makers()):
            made_by.update(b"%d " % len(part) + part)
        self._made_by = made_by.digest()

    def read(self, programs: Iterable[Program]) -> None:
        """Take the code that is kept."""
        for generated, uncompiled in _without_code(programs):
            self._take(generated, uncompiled)

    def compile_next(self, programs: Iterable[Program]) -> bool:
        """Compile one structure of which no code is kept, and keep it; False where each has code. Takes part of a
        second."""
        for generated, uncompiled in _without_code(programs):
            if self._take(generated, uncompiled):
                continue
            packed = _compile_apart(uncompiled.text())
            if packed is None:
                generated.made  # noqa: B018  (compiles it here)
            else:
                self._keep(self._name(uncompiled), packed)
                generated.take(uncompiled.filled(marshal.loads(packed)))  # noqa: S302  (of our own process)
            return True
        return False

    async def complete(self, made: Programs, heartbeat: Callable[[], None] = lambda: None) -> None:
        """Make what reads facts, and have code for all; a thread waits for that."""
        await asyncio.to_thread(made.make_readers)
        while await asyncio.to_thread(self.compile_next, made.all()):
            heartbeat()

    def _take(self, generated: Generated, uncompiled: Uncompiled) -> bool:
        found = self._find(self._name(uncompiled))
        if found is not None:
            generated.take(uncompiled.filled(found))
        return found is not None

    # -- files ---------------------------------------------------------------------------------------------------

    def _name(self, uncompiled: Uncompiled) -> str:
        return self._hash(self._made_by + uncompiled.source.digest()).hexdigest()

    def _hash(self, content: bytes) -> "blake2b":
        return blake2b(content, digest_size=_HASH_BYTES, key=self._key)

    def _seal(self, name: str, packed: bytes) -> bytes:
        return self._hash(name.encode() + packed).digest()

    def _find(self, name: str) -> tuple[CodeType, ...] | None:
        path = self._folder / name
        try:
            about = path.lstat()
            if not stat.S_ISREG(about.st_mode) or about.st_size > MAX_FILE_BYTES:
                return None
            content = path.read_bytes()
            sealed, packed = content[:_HASH_BYTES], content[_HASH_BYTES:]
            if not hmac.compare_digest(sealed, self._seal(name, packed)):
                logger.warning("a file of compiled code is damaged: compiled anew", extra={"detail": name[:12]})
                return None
            found: tuple[CodeType, ...] = marshal.loads(packed)  # noqa: S302  (its hash is right)
        except FileNotFoundError:
            return None
        except OSError as error:
            logger.warning("compiled code cannot be read: compiled anew", extra={"detail": error.strerror})
            return None
        with suppress(OSError):
            os.utime(path)  # read last: it is not the one to go
        return found

    def _keep(self, name: str, packed: bytes) -> None:
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            with write_atomically(self._folder / name) as part:
                part.write_bytes(self._seal(name, packed) + packed)
            self._make_room()
        except OSError as error:
            logger.warning("compiled code cannot be kept: each start compiles it", extra={"detail": error.strerror})

    def _make_room(self) -> None:
        with suppress(FileNotFoundError):  # a second process makes room, or has just kept a file
            for path in sorted(self._folder.iterdir(), key=lambda path: path.lstat().st_mtime_ns)[:-MAX_FILES]:
                path.unlink()


def _without_code(programs: Iterable[Program]) -> Iterator[tuple[Generated, Uncompiled]]:
    for program in programs:
        for generated in program.plain.values():
            if generated.uncompiled is not None:
                yield generated, generated.uncompiled


def _sources_of_makers() -> Iterator[bytes]:
    for module in _MAKERS:
        yield Path(str(module.__file__)).read_bytes()


def _compile_apart(text: str) -> bytes | None:
    """The code of ``text``, from a process that knows nothing but it; None where that fails."""
    try:
        done = subprocess.run(  # noqa: S603  (this Python, a file of ours)
            [sys.executable, "-I", "-S", compilation.__file__, GENERATED, sys.version],
            input=text.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=COMPILE_WITHIN_S,
            env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        logger.warning("code is compiled in this process", extra={"detail": type(error).__name__})
        return None
    return done.stdout
