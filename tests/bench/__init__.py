"""``make bench``: the bridge beside the real Emperor and beside bare systemd; see README.md beside this file."""
