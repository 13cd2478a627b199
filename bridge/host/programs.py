"""Finds programs in PATH: as ``shutil.which``, but without the libraries of all compressed formats."""

from __future__ import annotations

import os


def find_program(name: str) -> str:
    """Return the path of a program by its bare name; an empty text if there is none, or none can have this name."""
    if "\0" in name:
        return ""
    for folder in os.get_exec_path():
        path = os.path.join(folder, name)
        if os.access(path, os.X_OK) and not os.path.isdir(path):
            return path
    return ""
