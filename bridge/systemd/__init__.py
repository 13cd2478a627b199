"""Speaks to the service manager over D-Bus, and reads its journal."""
