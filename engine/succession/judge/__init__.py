"""The judge on facts: what each result of a message is to those before it. Pure; one judgement for every output.

    judge(facts, memory, receipt) -> Judgement      `judging`
    remember(memory, judgement, ...) -> Memory      `memory`

The table of rules, in the order in which they are asked. The first that answers decides.

    the new result                                                              decision            where
    1   of a control; of a pool, or a role that nothing is known of             filtered; held      roles
    2   of a report of a culture, which is one                                  its own table       cultures
    3   says again, with the same time, what was accepted                       echo (again: held)  judging
    4   says the same as another one of its message                             echo                judging
    -   is a line of a text that is in several lines now, and was               as a whole; shorter: held    texts
    5   makes final what was sent, without its value (OBX-11 U)                 finishes; dead      judging
    6   is in its message in two statuses                                       held                judging
    7   a person has rejected it, by content                                    held                rejected
    8   its times are a wrong clock's                                           held, once; found   clock
    9   no growth, and its order has isolates; or the reverse                   held                cultures
    10  takes something back (C, A, D, W): circles, the narrowest first         as below            taking_back
    11  has no key that is known, and is one measurement with another number    held                judging
        of its order; nothing has its key; or all that has it is of another     new                 matching, samples
        sample
    12  another sample, yet measured in the same minute; or it may be a rerun   held                matching, samples
    13  one result has its key                                                  table of statuses   ..steps
    14  several have it, and nothing says which                                 held                matching
    15  its report lists all results of its order, and lacks some               held                judging

Rule 10 comes last in a message, and 7 and 8 hold for a correction, too. What takes something back must take something.
Exactly one result in circle 1 or 2: it is done. Several, or a wider circle: it is held, and the decision names what it
may mean.

    1   its place: person, order, panel, test, channel, sample
    2   the same in another panel; or one of the two names no patient; or a susceptibility that names no isolate
    3   of another day or sample
    4   of another channel
    5   of another test of the order

Where the order has no result at all, a correction goes out flagged, as the first word that is known; a withdrawal is
held, for it may be of a result from before. Where another patient has the order's number, a person is asked.

Why so careful: a receiver replaces what it has by what it gets. A wrong pair makes two samples one, and one of them is
gone. A pair that is missed leaves a wrong result beside the right one. Both are worse than a question.
"""
