"""Sockets, serial ports and folders that bytes come from. One module per transport.

`serial` keeps one line open and hands it on as a `Stream`: a port of this machine or a device server (`serial_lines`,
with `adapters.codecs.rfc2217` as the pure half of a server). A break ends the stream, the link puts aside what was
half-way, and the next opening is a new stream, so no other part knows of cables. Calls that can block have a thread of
their own, for which nothing has to wait. `serial_ports` reads names of ports, and who uses them, from files of the
system alone: analyzers notice when a port is opened.
"""
