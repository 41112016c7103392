"""Pages about messages, dead letters and acts: lists by a filter that is in the address, and one message in full.

frame          what every page needs: a reader's thread, words, the answer
words          sentences, times and counts in the reader's language
asked          the filter of an address: fields, chips, the addresses of neighbouring pages
states         states of messages and deliveries as icon, word and colour
filters        the filter of lists of letters
all_pages      the routes of all pages
messages       lists of messages               message        one message as a time line
dead_letters   groups of them, and each       held           results that a rule keeps back
codes          codes without a mapping         acts           the audit trail
contents       the contents of one message    waiting        deliveries that wait
system         versions, copies, the journal   doing          acts on letters, with their confirmation
revealing      the audit row before contents  edit           a dead message, corrected by a person
aside          a delivery that lets others pass
replay         stored documents, sent again
operations     acts on many letters, and how far each is
affected       results that a mapping change affects
"""
