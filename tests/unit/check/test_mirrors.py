"""Warnings of check about databases, brokers, and their configs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bridge.check.mirrors import check_monitors, find_magic
from bridge.config.monitor_tables import MonitorTable
from bridge.config.settings import Settings
from bridge.diagnostics import Severity
from bridge.model.vassal import ConfigFile, VassalRow
from bridge.monitors import open_monitors
from tests.unit.build import make_vassal

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "s3cret"  # noqa: S105


def warn(settings: Settings, tmp_path: Path, *configuration: Path, user_manager: bool = False) -> list[str]:
    files = [str(path) for path in configuration]
    found = list(check_monitors(open_monitors(settings, str(tmp_path)), files, user_manager=user_manager))
    assert all(problem.severity is Severity.WARNING and problem.path for problem in found)
    assert SECRET not in "".join(map(str, found))
    return [problem.code for problem in found]


def of(spec: str, tmp_path: Path, **more: str) -> list[str]:
    return warn(Settings(monitor=(MonitorTable(name="x", spec=spec, **more),)), tmp_path)


@pytest.mark.parametrize(
    ("spec", "codes"),
    [
        ("pg://", ["monitor-user"]),
        ("pg://dbname=x", ["monitor-user"]),
        ("pg://postgresql:///x", ["monitor-user"]),
        ("pg://postgresql://h/x", []),
        ("pg://host=db", []),
        ("pg://dbname=x user=web", []),
        ("pg://service=fleet", []),
        ("zmq://tcp://*:1", ["zmq-open"]),
        ("zmq://ipc:///run/x", []),
        ("amqp://mq?durable=0", ["amqp-transient"]),
    ],
)
def test_specs(tmp_path: Path, spec: str, codes: list[str]) -> None:
    assert of(spec, tmp_path) == codes


def test_who_asks_may_be_named(tmp_path: Path) -> None:
    assert of("pg://dbname=x", tmp_path, user="postgres") == []
    assert warn(Settings(emperor=("pg://dbname=x",), uid="postgres"), tmp_path) == []
    assert warn(Settings(emperor=("pg://dbname=x",)), tmp_path, user_manager=True) == []


@pytest.mark.parametrize("endpoint", ["tcp://*:1", "ipc://@x"])
def test_the_keys_of_clients_close_an_endpoint(tmp_path: Path, endpoint: str) -> None:
    assert of(f"zmq://{endpoint}", tmp_path) == ["zmq-open"]
    assert of(f"zmq://{endpoint}", tmp_path, credential="key") == ["zmq-open"]
    assert of(f"zmq://{endpoint}", tmp_path, credential="key", curve_client_keys="/keys") == []
    assert of("zmq://tcp://127.0.0.1:1", tmp_path, credential="key") == []


def test_files_that_others_can_read(tmp_path: Path) -> None:
    secret, toml = tmp_path / "secret", tmp_path / "bridge.toml"
    for path in (secret, toml):
        path.touch()
        path.chmod(0o600)
    table = MonitorTable(name="x", spec="pg://host=db", password_file=str(secret))
    assert warn(Settings(monitor=(table,)), tmp_path, toml) == []
    secret.chmod(0o640)
    assert warn(Settings(monitor=(table,)), tmp_path, toml) == ["password-open"]
    plain = Settings(emperor=(f"amqp://u:{SECRET}@mq",))
    assert warn(plain, tmp_path, toml, tmp_path / "none") == []
    toml.chmod(0o644)
    assert warn(plain, tmp_path, toml) == ["password-open"]


@pytest.mark.parametrize(
    ("text", "line"),
    [("[uwsgi]\nchdir = %d\n", 2), ("a = %%d\nb = %%%n", 2), ("a = %h %%p 100%", None), ("a = %O", 1)],
)
def test_magic_variables_of_a_file(tmp_path: Path, text: str, line: int | None) -> None:
    config = tmp_path / "app.ini"
    config.write_text(text)
    vassal = replace(make_vassal(), config=ConfigFile(str(config)), origin="pg:x app.ini", row=VassalRow(note="/n"))
    found = list(find_magic(vassal))
    assert [(one.code, one.line) for one in found] == ([("row-magic", line)] if line else [])
    assert list(find_magic(replace(vassal, row=None))) == []
