"""The daemon: it learns of changes and reconciles at once."""
