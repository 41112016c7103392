"""Texts for faults on a line: for every kind of `LinkFault`, and for a channel's other counts.

Each text states the event from a person's point of view; docs/page.md has the remedy.
"""

import re

from engine.model.texts.phrases import PageText

FAULT_WORDS: dict[str, PageText] = {
    # ASTM E1381
    "bad-checksum": "frame with a wrong checksum, refused",
    "checksum-tolerated": "frame with a wrong checksum, taken",
    "frame-number": "frame out of order, refused",
    "frame-number-tolerated": "frame out of order, taken",
    "bad-layout": "broken frame, refused",
    "no-enq": "frame outside a session",
    "early-frame": "frame before the answer to ENQ, refused",
    "receive-timeout": "the sender stopped amid a session",
    "too-many-frames": "message of too many frames",
    # MLLP, and texts of analyzers with a format of their own
    "block-timeout": "block without an end",
    "empty-block": "empty block",
    "empty-text": "empty text",
    "text-timeout": "text without an end",
    "text-too-large": "text over the limit",
    "not-whole": "file without a whole message",
    # requests over HTTP
    "bad-request": "request that cannot be taken, refused",
    "browser": "request of a page in a browser, refused",
    "busy": "connection refused: all places are taken",
    "paused": "request to a paused channel, refused",
    "replayed": "signed request that was taken before, refused",
    "unauthorized": "request without proof of its sender, refused",
    # all
    "noise": "bytes that belong to no message",
    "stranger": "no analyzer: another program's protocol",
    "too-large": "message over the limit",
    "memory": "cut off: too much unfinished at once",
    "evicted": "idle connection ended for another",
    "not-allowed": "connection from an address that may not connect",
    "client-name": "connection with the certificate of another",
    "handshakes": "TLS handshake ended for another: too many under way",
    "backlog": "refused: too much is not mapped yet",
    "not-stored": "not stored, so not acknowledged",
    "evidence-not-kept": "unfinished message not kept",
    # a tee
    "unmatched-answer": "answer to nothing that was said",
    "not-kept": "tee: message not kept",
    "store-failed": "tee: the journal failed, tried again",
    "unheard": "tee: bytes passed unheard",
    "listener-failed": "tee: the listener failed",
}


SPEAKS_TLS = "it speaks TLS: encryption is on at the sender, and `tls:` is not set for this channel"
# First bytes of peers that are no analyzers, with their texts.
_STRANGERS = (
    (rb"\x16\x03", SPEAKS_TLS),
    (rb"SSH-", "it speaks SSH: another program, or a scanner"),
    (rb"[^\x00-\x20\x7f]+ ", "it speaks HTTP: a browser, a monitor, a scanner"),
)


def stranger_words(first: bytes) -> str:
    """The text for a connection with the first bytes of another program (`engine.receiving.door`); empty: of none."""
    return next((words for begins, words in _STRANGERS if re.match(begins, first)), "")


def fault_words(kind: str) -> str:
    """The text of a kind; a kind without one is returned itself."""
    return FAULT_WORDS.get(kind, kind)
