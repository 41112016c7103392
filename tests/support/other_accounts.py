"""Run a function under another account of this machine, in a process of its own: only root can.

The accounts are ones that each Debian has. A child has what the parent has imported: the interpreter's files may be
closed to its account.
"""

import codecs
import concurrent.futures.thread  # noqa: F401 - the child may not read it
import http.client  # noqa: F401
import json
import os
import pwd
import traceback
from collections.abc import Callable
from typing import Any

for _name in ("ascii", "latin-1", "idna"):
    codecs.lookup(_name)


def become(name: str, *groups: str) -> None:
    """Turn this process into one of the account; ``groups``: accounts of whose groups it is a member besides."""
    account = pwd.getpwnam(name)
    os.setgroups([pwd.getpwnam(group).pw_gid for group in groups])
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)


def as_account(name: str, *groups: str, do: Callable[[], Any]) -> Any:
    """The result of ``do`` (as JSON has it) in a process of this account."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(reading)
            become(name, *groups)
            with os.fdopen(writing, "w") as pipe:
                json.dump(do(), pipe)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0, f"the process of {name} failed; its traceback is on stderr"
    return json.loads(said)
