"""``${NAME}``: values that are not written into configuration files.

A name is read from the systemd credential of that name (``LoadCredential=``: a file in ``$CREDENTIALS_DIRECTORY``),
else from the environment. The credential comes first because only the service can read it, while an environment is
inherited by every child process. Values are never logged, shown or written back.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from engine.model.errors import ConfigError

CREDENTIALS_VARIABLE = "CREDENTIALS_DIRECTORY"
NAME = re.compile(r"\$\{([^{}]*)\}")
_NAME_SHAPE = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
MAX_CREDENTIAL_BYTES = 64 * 1024

Lookup = Callable[[str], str | None]


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret by its name: the value is read when it is needed and never kept, so that no dump can show it."""

    name: str

    def reveal(self) -> str:
        """The value, now.

        Raises:
            ConfigError: neither a credential nor a variable of this name exists, or it is empty.
        """
        value = lookup(self.name)
        if not value:
            raise ConfigError(unset(self.name))
        return value

    @property
    def is_set(self) -> bool:
        return bool(lookup(self.name))

    def __str__(self) -> str:
        return f"${{{self.name}}}"


def lookup(name: str) -> str | None:
    """The value of ``name``, or None. One line end (LF, or CR LF) at the end of a credential file is not part of it."""
    folder = os.environ.get(CREDENTIALS_VARIABLE)
    if folder and _NAME_SHAPE.fullmatch(name):
        try:
            with (Path(folder) / name).open("rb") as file:
                return file.read(MAX_CREDENTIAL_BYTES).decode("utf-8").removesuffix("\n").removesuffix("\r")
        except (OSError, UnicodeDecodeError):
            pass  # no such credential: the environment may have it
    return os.environ.get(name)


def parse_secret(text: str) -> Secret:
    """A secret as configuration names it: exactly ``${NAME}``.

    Raises:
        ValueError: a literal, which is refused; the text never repeats it.
    """
    match = NAME.fullmatch(text)
    if match is None or not _NAME_SHAPE.fullmatch(match[1]):
        raise ValueError(
            "a secret is never written here; write ${NAME} and give the value as a systemd credential "
            "or an environment variable of that name"
        )
    return Secret(match[1])


def expand(text: str, look: Lookup = lookup) -> str:
    """Replace each ``${NAME}``.

    Raises:
        ValueError: a name that is not set, or no name between the braces.
    """

    def value(match: re.Match[str]) -> str:
        name = match[1]
        if not _NAME_SHAPE.fullmatch(name):
            raise ValueError("${...} takes the name of an environment variable or systemd credential, as ${FHIR_URL}")
        found = look(name)
        if found is None:
            raise ValueError(unset(name))
        return found

    return NAME.sub(value, text)


def unset(name: str) -> str:
    return f"${{{name}}} is not set; set the environment variable or add LoadCredential={name}:... to the service"
