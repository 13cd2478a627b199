"""The daemon: it notices changes of vassals and reconciles them at once."""
