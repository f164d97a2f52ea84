"""Private servers for a command, and the processes, records and locks by which exactly those are stopped."""
