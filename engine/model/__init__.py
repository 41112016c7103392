"""Values that cross folders, and the ports between them. No folder of `engine` stands below this one."""
