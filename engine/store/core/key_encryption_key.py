"""Where the key-encryption key (KEK) is: a systemd credential, a file of the data folder, or the environment.

    1  $CREDENTIALS_DIRECTORY/labrelay-kek      LoadCredential=, or LoadCredentialEncrypted= sealed to the TPM
    2  <data>/labrelay.key                      mode 0600; made at the first start where there is no other
    3  LABRELAY_KEK                             64 hexadecimal digits, in the environment

A rotation (`engine.store.lifecycle.key_rotation`) leaves more files beside the second: ``labrelay.key.new`` until the
new key has its place, ``labrelay.key.old-<id>`` for backups from before. The journal says which key it needs
(`check_value`), so whatever is found is only tried: at every moment of a rotation one of them is the right one.

The first eight digits of the check value are the key's *id*: enough to tell keys apart on a sheet of paper, and of no
use to anybody else.
"""

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from engine.config.secrets import CREDENTIALS_VARIABLE
from engine.model.errors import ConfigError, IntegrityError
from engine.store.core.vault import CREDENTIAL_NAME, KEY_BYTES, KEY_NAME, check_value, parse_kek, read_kek

VARIABLE = "LABRELAY_KEK"
NEW_NAME = KEY_NAME + ".new"
OLD_NAME = KEY_NAME + ".old-"  # and the key's id
_ID_BYTES = 4


class Source(StrEnum):
    """Where a key was found, in words for people."""

    CREDENTIAL = "credential"
    FILE = "file"
    ENVIRONMENT = "environment"
    NEW_FILE = "new file"
    OLD_FILE = "old file"

    @property
    def is_first_choice(self) -> bool:
        """A new journal may be made with it."""
        return self in (Source.CREDENTIAL, Source.FILE, Source.ENVIRONMENT)


@dataclass(frozen=True, slots=True)
class Found:
    """A key that is at hand. The key itself is no part of its text."""

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
    """How a key is called, by its check value: ``5f3a91bc``."""
    return check[:_ID_BYTES].hex()


def candidates(data: Path, environment: Mapping[str, str] | None = None) -> Iterator[Found]:
    """Every key at hand, the usual places first.

    Raises:
        ConfigError: a file can be read by others, or holds no key.
        PermissionError: a file cannot be read by us.
    """
    environment = os.environ if environment is None else environment
    folder = environment.get(CREDENTIALS_VARIABLE)
    if folder and (path := Path(folder) / CREDENTIAL_NAME).exists():
        yield Found(Source.CREDENTIAL, str(path), read_kek(path))
    if (path := data / KEY_NAME).exists():
        yield _file(Source.FILE, path)
    if text := environment.get(VARIABLE):
        kek = parse_kek(text.strip().encode("utf-8", "surrogateescape"))
        if kek is None or len(text.strip()) != 2 * KEY_BYTES:
            raise ConfigError(f"{VARIABLE}: not a key: 64 hexadecimal digits are expected")
        yield Found(Source.ENVIRONMENT, VARIABLE, kek)
    if (path := data / NEW_NAME).exists():
        with suppress(ConfigError):  # a rotation that was killed while it wrote this: no journal can need it
            yield _file(Source.NEW_FILE, path)
    for path in sorted(data.glob(OLD_NAME + "*")):
        yield _file(Source.OLD_FILE, path)


def first(data: Path) -> Found | None:
    """The key for a journal that is to be made, if there is one."""
    return next((found for found in candidates(data) if found.source.is_first_choice), None)


def unlock(data: Path, expected: bytes) -> Found:
    """The key that a journal needs.

    Args:
        expected: its ``key_check``.

    Raises:
        ConfigError: there is no key at all.
        IntegrityError: there are others only.
    """
    others: list[Found] = []
    for _ in range(2):  # the files of a rotation may have been renamed between two looks
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


def not_there(data: Path, wanted: str) -> str:
    """What to do where a command finds no key at all; one that lies there and may not be read is told otherwise.

    Args:
        wanted: the id of the journal's key.
    """
    return (
        f"{data / KEY_NAME}: the key of this journal ({wanted}) is not there. If the service gets it as a credential, "
        "run this as the service's user and with that credential; else put your copy back, or type it in from its "
        "recovery sheet: labrelay key init --from-sheet"
    )


def not_readable(place: str) -> str:
    """The other case: it is there, and not ours to read."""
    return f"{place}: not readable here; run this as the service's user"


def _file(source: Source, path: Path) -> Found:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise ConfigError(f"{path}: others may read this key (mode {mode:04o}); run: chmod 600 {path}")
    return Found(source, str(path), read_kek(path))
