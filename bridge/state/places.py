"""The places of vassals where their number is limited: folders that the script ``vassals-limit`` keeps."""

from __future__ import annotations

import os
from contextlib import suppress

from bridge.host.files import remove_if_there

_FOLDERS = ("starting", "running", "waiting")


def forget_places(folder: str) -> None:
    """Remove the folder of places, unless a vassal has one or waits for one.

    Raises:
        OSError: the file system refuses.
    """
    for kind in _FOLDERS:
        path = f"{folder}/{kind}"
        with suppress(OSError):
            for tenant in os.listdir(path):
                # It stays as long as something is in it.
                with suppress(OSError):
                    os.rmdir(f"{path}/{tenant}")
            os.rmdir(path)
    if not any(os.path.lexists(f"{folder}/{kind}") for kind in _FOLDERS):
        remove_if_there(f"{folder}/lock")
        with suppress(OSError):
            os.rmdir(folder)
