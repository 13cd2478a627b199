"""Files, processes, users and listening sockets of the machine. Nothing here knows vassals."""
