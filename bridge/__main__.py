"""``python -m bridge`` is ``emperor-bridge``."""

from bridge.cli import main

main()
