"""`labrelay simulate`: an analyzer that plays its pack's samples over a real line, and judges how it is answered.

    packs      what an analyzer of a kind sends: samples, and the link they go over
    people     invented patients, and the numbers of their specimens
    panels     a new message out of a sample: patient, specimen, times, values, flags
    shift      what is sent in which order: specimens, controls, reruns, corrections
    faults     what goes wrong on the way, decided before each session
    wires      TCP, either side of it, and serial lines at their pace
    astm       one message over E1381, by the sender that the engine uses
    mllp       one message over MLLP
    texts      analyzers that send text of their own
    dialogue   what was said, for people, and what the peer did wrong
    play       all of it together

It knows no more of LabRelay than an analyzer does: an address. Everything in its messages is invented.
"""
