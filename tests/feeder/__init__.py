"""The feeders beside real servers. No systemd takes part."""
