"""`labrelay simulate`: an analyzer that plays its pack's samples over a real line, and checks the answers.

    packs      the samples of an analyzer, and its link
    people     invented patients, and the numbers of their specimens
    panels     a new message out of a sample: patient, specimen, times, values, flags
    read_back  whether the analyzer's dialect reads such a message
    shift      the order of messages: specimens, controls, reruns, corrections
    faults     faults on the way, decided before each session
    wires      TCP, either side of it, and serial lines at their pace
    astm       one message over E1381, by the sender that the engine uses
    mllp       one message over MLLP
    texts      analyzers that send text of their own
    asking     an analyzer that asks for the orders of a tube, and measures them
    asking_forms   how each maker's analyzers ask
    hearing    one message of the host over E1381, taken strictly
    dialogue   the dialogue for people, and the peer's mistakes
    play       all of it together

Like an analyzer, it knows only LabRelay's address. Everything in its messages is invented.
"""
