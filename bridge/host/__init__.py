"""The kernel and the C library: files, processes, users, listening sockets. Nothing here knows a vassal."""
