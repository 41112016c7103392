"""The judge on facts: what each result of a message is to those that stand. Pure; one judgement for every output.

    judge(facts, memory, receipt) -> Judgement      `judging`
    remember(memory, judgement, ...) -> Memory      `memory`

The table of rules, in the order in which they are asked. The first that answers decides.

    the new result                                                              decision            where
    1   of a control; of a pool, or a role that nothing is known of             filtered; held      roles
    2   says again, with the same time, what stands                             echo (again: held)  judging
    3   takes something back (C, A, D, W): circles, the narrowest first         as below            taking_back
    4   a person has rejected it, by content                                    held                rejected
    5   its times are the clock's, not the day's                                held, once; found   clock
    6   no isolate, and its order has isolates                                  held                cultures
    7   nothing has its key                                                     new                 matching
    8   another sample than all that have it                                    new, of its own     samples
    9   another sample, yet measured in the same minute as one of them          held                matching
    10  one result has its key                                                  the table of        `..steps`
                                                                                statuses
    11  several have it, and nothing tells which                                held                matching
    12  its report lists all results of its order, and lacks some               held                judging
    13  it makes final what was sent, without its value (OBX-11 U)              finishes; dead      judging

What takes something back must take something (rule 3). Exactly one result in circle 1 or 2: it is done. Several, or a
wider circle: it is held, and the decision names what it may mean.

    1   its place: person, order, panel, test, channel, sample
    2   the same in another panel; or one of the two names no patient
    3   of another day or sample
    4   of another channel
    5   of another test: the results of the order that the message does not name

Where the order has no result at all, a correction goes out flagged, as the first word that is known; a withdrawal is
filtered, for there is nothing to withdraw. Where another patient has the order's number, a person is asked.

Why so careful: a receiver replaces what it has by what it gets. A wrong pair makes two samples one, and one of them is
gone. A pair that is missed leaves a wrong result beside the right one. Both are worse than a question.
"""
