"""The distribution's packages: built, checked by Debian's own tools, and tried in a booted machine."""
