"""Tests on a real systemd, booted in a container of their own."""
