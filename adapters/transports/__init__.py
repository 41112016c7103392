"""Sockets, serial ports and folders that bytes come from. One module per transport."""
