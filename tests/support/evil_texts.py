"""Texts that a device may send, to be harmless on every page."""

EVIL = (
    "<script>alert(1)</script>",
    "\"'><img src=x onerror=alert(1)>",
    "\x1b[31mred\x1b[0m",
    "\u202eRTL\u202c",
    "{{ 7 * 7 }}{% raw %}",
    "A" * 3000,
    "\x00\x01\ufffd",
)
FORBIDDEN = ("<script>alert", "<img src=x", "\x1b", "\u202e", "\x00", "A" * 250)
