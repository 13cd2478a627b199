"""emperor-bridge: uWSGI's on-demand vassals as systemd units."""

__version__ = "0.2.0"
