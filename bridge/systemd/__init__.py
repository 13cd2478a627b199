"""The service manager over D-Bus, its jobs and its journal."""
