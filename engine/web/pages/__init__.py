"""Pages about messages, dead letters and acts: lists by a filter that is in the address, and one message in full.

frame          what every page needs: a reader's thread, words, the answer
words          sentences, times and counts in the reader's language
states         states of messages and deliveries as icon, word and colour
filters        the filter of lists of letters
all_pages      the routes of all pages
messages       lists of messages              message        one message: its way, and its parts behind tabs
contents       the contents of one message    waiting        deliveries that wait
system         versions, copies, the journal  doing          acts on letters, the audit row before contents
acts           the audit trail

Those of a feature are its ``pages``.
"""
