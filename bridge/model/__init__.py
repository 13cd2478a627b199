"""Frozen data without I/O: addresses, vassals, units, changes."""
