"""The key-encryption key (KEK): a systemd credential, a file of the data folder, or the environment; and on paper.

    1  $CREDENTIALS_DIRECTORY/labrelay-kek      LoadCredential=, or LoadCredentialEncrypted= sealed to the TPM
    2  <data>/labrelay.key                      mode 0600; made at the first start where there is no other
    3  LABRELAY_KEK                             64 hexadecimal digits, in the environment

A rotation (`engine.store.lifecycle.key_rotation`) leaves more files beside the second: ``labrelay.key.new`` until the
new key is in place, ``labrelay.key.old-<id>`` for older backups. The journal knows which key it needs (`check_value`),
so every key found is tried: at every moment of a rotation one of them is the right one.

The first eight digits of the check value are the key's *id*: enough to distinguish keys on a sheet of paper, and
useless to an attacker.

A key on paper has lines that a person can read aloud and type:

    1   7QK2-M9XD-04TE-HW3A     8 bytes of the key and 2 of a checksum over them and the number of the line
    2   ...                     in Crockford's base 32: no I, L, O, U; small letters, blanks and hyphens do not count
    3   ...
    4   ...

A typing error is detected in its line (one in 65,536 is not), and so are lines in another order. Whether the whole is
the right key, the journal knows.
"""

import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import blake2b
from pathlib import Path

from engine.config.reading.secrets import CREDENTIALS_VARIABLE
from engine.model.errors import ConfigError, IntegrityError
from engine.store.core.vault import CREDENTIAL_NAME, KEY_BYTES, KEY_NAME, check_value, parse_kek, read_kek

VARIABLE = "LABRELAY_KEK"
NEW_NAME = KEY_NAME + ".new"
OLD_NAME = KEY_NAME + ".old-"  # and the key's id
_ID_BYTES = 4


class Source(StrEnum):
    """The place of a key, as text for people."""

    CREDENTIAL = "credential"
    FILE = "file"
    ENVIRONMENT = "environment"
    NEW_FILE = "new file"
    OLD_FILE = "old file"

    @property
    def is_first_choice(self) -> bool:
        """Whether a new journal may be made with it."""
        return self in (Source.CREDENTIAL, Source.FILE, Source.ENVIRONMENT)


@dataclass(frozen=True, slots=True)
class FoundKey:
    """A key that was found. The key itself is not part of its text."""

    source: Source
    place: str
    kek: bytes = field(repr=False)

    @property
    def check(self) -> bytes:
        return check_value(self.kek)

    @property
    def id(self) -> str:
        return key_id(self.check)


def key_id(check: bytes) -> str:
    """The name of a key, from its check value: ``5f3a91bc``."""
    return check[:_ID_BYTES].hex()


def candidates(data: Path, environment: Mapping[str, str] | None = None) -> Iterator[FoundKey]:
    """Every key that can be found, the usual places first.

    Raises:
        ConfigError: a file can be read by other users, or holds no key.
        PermissionError: we cannot read a file.
    """
    environment = os.environ if environment is None else environment
    folder = environment.get(CREDENTIALS_VARIABLE)
    if folder and (path := Path(folder) / CREDENTIAL_NAME).exists():
        yield FoundKey(Source.CREDENTIAL, str(path), read_kek(path, own=False))
    if (path := data / KEY_NAME).exists():
        yield _file(Source.FILE, path)
    if text := environment.get(VARIABLE):
        kek = parse_kek(text.strip().encode("utf-8", "surrogateescape"))
        if kek is None or len(text.strip()) != 2 * KEY_BYTES:
            raise ConfigError(f"{VARIABLE}: not a key: 64 hexadecimal digits are expected")
        yield FoundKey(Source.ENVIRONMENT, VARIABLE, kek)
    if (path := data / NEW_NAME).exists():
        with suppress(ConfigError):  # a rotation was killed while it wrote this: no journal can need it
            yield _file(Source.NEW_FILE, path)
    for path in sorted(data.glob(OLD_NAME + "*")):
        yield _file(Source.OLD_FILE, path)


def first(data: Path) -> FoundKey | None:
    """The key for a new journal, if there is one."""
    return next((found for found in candidates(data) if found.source.is_first_choice), None)


def unlock(data: Path, expected: bytes) -> FoundKey:
    """The key that a journal needs.

    Args:
        expected: its ``key_check``.

    Raises:
        ConfigError: no key was found.
        IntegrityError: only other keys were found.
    """
    others: list[FoundKey] = []
    for _ in range(2):  # a rotation may have renamed its files between two attempts
        others.clear()
        for found in candidates(data):
            if found.check == expected:
                return found
            others.append(found)
    wanted = key_id(expected)
    if not others:
        raise ConfigError(
            f"{data / KEY_NAME}: the key of this journal is missing ({wanted}). Put back your copy of it, or type it "
            "in from its recovery sheet: labrelay key init --from-sheet; without it nothing here can be read"
        )
    seen = ", ".join(f"{found.id} in {found.place}" for found in others)
    raise IntegrityError(
        f"the key is not the one that this journal was made with; put the right one back: {wanted} is needed, there is "
        f"{seen}. From its recovery sheet: labrelay key init --from-sheet"
    )


def unlock_in(places: Iterable[Path], expected: bytes) -> FoundKey:
    """As `unlock`, in the first of these folders that has the key; else the error is that of the first folder."""
    trouble: ConfigError | IntegrityError | None = None
    for place in places:
        try:
            return unlock(place, expected)
        except (ConfigError, IntegrityError) as error:
            trouble = trouble or error
    assert trouble is not None, "a folder is named"
    raise trouble


def not_there(data: Path, wanted: str) -> str:
    """The error text where a command finds no key at all; a key that may not be read has another text.

    Args:
        wanted: the id of the journal's key.
    """
    return (
        f"{data / KEY_NAME}: the key of this journal ({wanted}) is not there. If the service gets it as a credential, "
        "run this as the service's user and with that credential; else put your copy back, or type it in from its "
        "recovery sheet: labrelay key init --from-sheet"
    )


def not_readable(place: str) -> str:
    """The error text for a key that exists, but may not be read."""
    return f"{place}: not readable here; run this as the service's user"


def _file(source: Source, path: Path) -> FoundKey:
    mode = stat.S_IMODE(path.lstat().st_mode)
    if mode & 0o077 and not path.is_symlink():
        raise ConfigError(f"{path}: others may read this key (mode {mode:04o}); run: chmod 600 {path}")
    return FoundKey(source, str(path), read_kek(path))


LINES = 4
_BYTES = 8  # of the key in a line
_CHECK_BYTES = 2
_SYMBOLS = 16
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_VALUES = {sign: value for value, sign in enumerate(_ALPHABET)} | {"O": 0, "I": 1, "L": 1}


def write(key: bytes) -> list[str]:
    """The lines of a key of 32 bytes, in groups of four: ``7QK2-M9XD-04TE-HW3A``."""
    return [_line(number, key[at : at + _BYTES]) for number, at in enumerate(range(0, LINES * _BYTES, _BYTES), start=1)]


def read_line(number: int, text: str) -> bytes:
    """The 8 bytes of line ``number``, from 1.

    Raises:
        ValueError: the text is no such line; the error explains it, and never quotes the line.
    """
    signs = [sign for sign in text.upper() if sign not in " \t-.\u2013"]
    if len(signs) > _SYMBOLS and signs[0] == str(number):
        del signs[0]  # the line number was typed, too
    if len(signs) != _SYMBOLS:
        raise ValueError(f"line {number} has {len(signs)} letters and digits, {_SYMBOLS} are expected")
    bits = 0
    for place, sign in enumerate(signs, start=1):
        if sign not in _VALUES:
            raise ValueError(f"line {number}, place {place}: that sign is in no key")
        bits = bits << 5 | _VALUES[sign]
    found = bits.to_bytes(_BYTES + _CHECK_BYTES, "big")
    if found[_BYTES:] != _check(number, found[:_BYTES]):
        raise ValueError(f"line {number} is mistyped: its checksum does not fit")
    return found[:_BYTES]


def read(lines: Sequence[str]) -> bytes:
    """The key in four lines.

    Raises:
        ValueError: as `read_line`, or there are not four lines.
    """
    if len(lines) != LINES:
        raise ValueError(f"{LINES} lines are expected, not {len(lines)}")
    return b"".join(read_line(number, line) for number, line in enumerate(lines, start=1))


def _line(number: int, part: bytes) -> str:
    bits = int.from_bytes(part + _check(number, part), "big")
    signs = "".join(_ALPHABET[bits >> shift & 31] for shift in range((_SYMBOLS - 1) * 5, -1, -5))
    return "-".join(signs[at : at + 4] for at in range(0, _SYMBOLS, 4))


def _check(number: int, part: bytes) -> bytes:
    return blake2b(part, digest_size=_CHECK_BYTES, person=b"key sheet %d" % number).digest()
