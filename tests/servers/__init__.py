"""The servers of the monitors, started for tests: on this machine, or in a booted one by the same functions."""
