"""Where E1394 messages begin and end in the text of a session. Bytes, before any character is decoded; pure.

A message begins with its H record and ends with its L record. Frames cut the text anywhere, and neither ETB nor ETX nor
EOT says that a message is over: a sender that gives up sends EOT too.

    ... L|1|N CR     the end, in whichever frame the CR comes
    ... L|1|N ETX    the end too: some analyzers leave out the last CR
    ... L|1| ETB     not yet: the code may be cut off, and T there means that the message must not be used
"""

import re

_PUNCTUATION = rb"[!-/:-@\[-`{-~]"
_HEADER = re.compile(rb"[Hh](" + _PUNCTUATION + rb")" + _PUNCTUATION)
_BLANKS = b"\0\n\r\t "


def field_delimiter(record: bytes) -> bytes:
    """The field delimiter that an H record declares; empty if ``record`` does not begin like one."""
    match = _HEADER.match(record)
    return match[1] if match else b""


def is_terminator(record: bytes, delimiter: bytes) -> bool:
    """Whether a record is an L record: L, a sequence number if any, and what may follow it."""
    name, _, rest = record.partition(delimiter)
    return (
        name.strip(_BLANKS) in (b"L", b"l")
        and re.fullmatch(rb"\d*", rest.split(delimiter, 1)[0].strip(_BLANKS)) is not None
    )
