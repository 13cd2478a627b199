"""What an ordinary user, such as the one who builds a distribution's package, cannot test."""

from __future__ import annotations

import os

import pytest

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to other users, or become them")
