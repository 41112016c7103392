"""Values that cross folders, and the ports between them. This folder imports no other folder of `engine`."""
