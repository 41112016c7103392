"""Describe an unknown line in words: inspect, name and mask its bytes, and guess its settings. Pure: bytes in, words
out.

capture    bytes with their times and directions, and the file that keeps them
marks      one direction's bytes cut into units: ENQ, blocks, text, frames with how they were changed
serial     settings of a serial line that bytes give away: parity, a wrong speed
look       everything seen on a line, and the sentences about it
signs      bytes as people read them, and patient data masked
guess      link, format and charset of an analyzer, each with how sure that is
channel    a channel file to start from

`labrelay listen` and `detect` feed it from a line that the same transports open as a channel's; `messages show --wire`
feeds it from the journal. For links that take or refuse frame by frame `engine.store.operations.line_trace` keeps what
passed: sealed, bounded, outside of the hash chain. A new tolerance or fault gets its sentence in `look`.
"""
