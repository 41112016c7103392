"""The page of `labrelay try`: a message, the mapping and its document, side by side, while the user types.

fields     a message's text to places          trial      one message through one mapping, as data for the page
document   a document's text to lines          files      the mapping's files: read, listed, saved with care
child      the process that does the work      server     the page, on loopback only
"""
