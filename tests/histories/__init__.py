"""Random histories of a laboratory through the real daemon, and what must hold of them at the end.

history    what happened: orders, questions, who sent which result about whom, what people did; with its JSON
generate   histories from a seed: `scenes` and `order_scenes` are known traps, `mixed` is everything at once
render     a message's bytes
product    the program under test: its interpreter, configuration and commands
called     the same program by calls: in the process of the checker, without daemon, sockets and commands
hand       runs beside the program, in its interpreter: commands, and the journal read out
senders    analyzers on sockets that never give up
two_way    those that ask and are sent orders over ASTM, and laboratory systems
hl7_two_way  the same over HL7 v2: IHE LAW, Mindray BS, GeneXpert
play       a batch of histories on one daemon and one server, with kills and outages
seen       what was found afterwards, on the server and in the journal
look       puts `seen` together
model      which must hold of results: pure, and knows nothing of the program
orders_model  the same of orders, questions and their answers; with `order_book`, what was ordered and measured
samples    histories of samples, whose messages show only some of what is true; nine questions of the end
shrink     the smallest history that still shows a fault
"""
