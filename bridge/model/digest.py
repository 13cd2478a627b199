"""BLAKE2 without OpenSSL, which :mod:`hashlib` loads first: that takes more than 2 ms of each command."""

from __future__ import annotations

try:
    from _blake2 import blake2b
except ImportError:
    # It is CPython's own module, and no promise.
    from hashlib import blake2b

__all__ = ["blake2b"]
