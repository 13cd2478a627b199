"""The tests: ``unit`` needs nothing but Python, ``booted`` boots a systemd."""
