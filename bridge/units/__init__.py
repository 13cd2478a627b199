"""Unit files, as text and on disk. Nothing here speaks to systemd."""
