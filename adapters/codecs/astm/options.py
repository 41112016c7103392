"""The settings of an analyzer's receiving E1381 link."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class AstmOptions:
    """A channel's settings for its analyzer's link.

    Attributes:
        framing: ``e1381``; ``enq-less`` takes frames, or text from its H on, without ENQ too; ``none`` is text without
            frames.
        checksum: ``required``; ``warn`` accepts a frame with any sum and reports it, ``ignore`` does not report it.
        frame_numbers: ``strict``; ``warn`` accepts frames with any number (some count from 0, some never restart) and
            reports it, ``ignore`` does not report it and accepts frames without a number.
        acks: the answers that the analyzer waits for: to each ``frame``; to ENQ and EOT only (``session``); ``none``.
        answer_stx: an STX that comes alone waits for an answer, and so does the EOT behind such a frame. It has neither
            a number nor a sum, and ends with its ETX (Snibe).
        commit: hold the ACK of each ``frame`` until it is durable, or only that of the frame that ends a ``message``.
        record_end: a record ends with its ``cr``; with ``etx`` at the end of a frame as well, where that is no ETB.
        end: a message ends with its L ``record``; with ``eot`` the end of the session completes what is open.
        max_frame: bytes from STX through ETX or ETB.
        max_message: bytes of text from H through L.
        max_frames: frames of one message.
        receive_timeout: seconds that a frame may take, counted from the answer to the one before.
        answer_within: seconds after which the sender has given up waiting: a later ACK would be taken as the answer to
            another frame.
    """

    framing: Literal["e1381", "enq-less", "none"] = "e1381"
    checksum: Literal["required", "warn", "ignore"] = "required"
    frame_numbers: Literal["strict", "warn", "ignore"] = "strict"
    acks: Literal["frame", "session", "none"] = "frame"
    answer_stx: bool = False
    commit: Literal["frame", "message"] = "frame"
    record_end: Literal["cr", "etx"] = "cr"
    end: Literal["record", "eot"] = "record"
    max_frame: int = 64_000
    max_message: int = 16 * 1024 * 1024
    max_frames: int = 100_000
    receive_timeout: float = 30.0
    answer_within: float = 15.0
