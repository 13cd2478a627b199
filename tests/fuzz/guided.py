"""Fuzz the reader of configs guided by the code that each input reaches (atheris, libFuzzer); a process of its own.

`python -m tests.fuzz.guided CORPUS SECONDS`: it ends at the first input that fails, and keeps that as a case. The
corpus begins with the cases and with configs of the strategies, and grows by what reaches new code.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import atheris

with atheris.instrument_imports(include=["bridge.uwsgi", "bridge.model.address"]):
    from . import properties, running

if TYPE_CHECKING:
    from .strategies import Value

KINDS = ("ini", "json", "xml", "yaml")
MAX_LENGTH = 4096
FIRST = 200
"""Configs of the strategies that the corpus begins with."""


def decode(data: bytes) -> Value:
    """Return the input of :func:`properties.check_config` that some bytes stand for: first the kind, then the text."""
    kind = KINDS[data[0] % len(KINDS)] if data else "ini"
    text, *more = data[1:].split(b"\0\0", 1)
    files = {"a.ini": more[0].decode("utf-8", "surrogateescape")} if more else {}
    return {"kind": kind, "text": text.decode("utf-8", "surrogateescape"), "files": files, "environ": {}, "before": []}


def encode(value: Value) -> bytes:
    """Return bytes that stand for an input of the strategies."""
    text: bytes = value["text"].encode("utf-8", "surrogateescape")
    return bytes([KINDS.index(value["kind"])]) + text[:MAX_LENGTH]


def try_one(data: bytes) -> None:
    """Check one input; keep it as a case if it fails."""
    value = decode(data)
    try:
        properties.check_config(value)
    except BaseException as error:
        error.add_note(f"kept as {running.keep('config', value)}")
        raise


def fill(corpus: Path) -> None:
    """Begin a corpus."""
    from hypothesis import HealthCheck, Phase, given, settings

    corpus.mkdir(parents=True, exist_ok=True)

    @settings(
        max_examples=FIRST,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        deadline=None,
    )
    @given(running.STRATEGIES["config"])
    def write(value: Value) -> None:
        data = encode(value)
        (corpus / f"{hash(data) & 0xFFFFFFFF:08x}").write_bytes(data)

    write()


def main() -> None:
    """Fuzz; libFuzzer ends the process."""
    corpus, seconds = Path(sys.argv[1]), int(float(sys.argv[2]))
    fill(corpus)
    options = [f"-max_total_time={seconds}", f"-max_len={MAX_LENGTH}", "-print_final_stats=1", "-timeout=30"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], try_one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
