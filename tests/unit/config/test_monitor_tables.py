"""``[[monitor]]`` tables of a bridge.toml, and magic variables in its specs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from bridge.config.monitor_tables import MonitorTable
from bridge.config.settings import merge, read_toml
from bridge.diagnostics import BridgeError

if TYPE_CHECKING:
    from pathlib import Path

SECRET_FILE = "/etc/secret"  # noqa: S105
ZMQ = '[[monitor]]\nname = "bus"\nspec = "zmq://ipc:///run/x"\n'
TABLE = '[[monitor]]\nname = "fleet"\nspec = "pg://host=db"\n'


def read(tmp_path: Path, text: str) -> dict[str, object]:
    path = tmp_path / "bridge.toml"
    path.write_text(text)
    return read_toml(path)[0]


def test_a_table(tmp_path: Path) -> None:
    text = f'{TABLE}user = "postgres"\npassword-file = "{SECRET_FILE}"\n[[monitor]]\nname = "mq"\nspec = "amqp://h"\n'
    assert read(tmp_path, text)["monitor"] == (
        MonitorTable(name="fleet", spec="pg://host=db", user="postgres", password_file=SECRET_FILE),
        MonitorTable(name="mq", spec="amqp://h"),
    )


def test_keys_of_clients(tmp_path: Path) -> None:
    text = f'{ZMQ}password-file = "{SECRET_FILE}"\ncurve-client-keys = "/etc/keys"\n'
    table = MonitorTable(
        name="bus", spec="zmq://ipc:///run/x", password_file=SECRET_FILE, curve_client_keys="/etc/keys"
    )
    assert read(tmp_path, text)["monitor"] == (table,)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('monitor = "x"', "must be a table"),
        ('[[monitor]]\nspec = "pg://"', "no name"),
        ('[[monitor]]\nname = "a b"\nspec = "pg://"', "no name"),
        ('[[monitor]]\nname = "../x"\nspec = "pg://"', "no name"),
        ('[[monitor]]\nname = "x"', "what to ask"),
        (f"{TABLE}uid = 1", "unknown key 'uid'"),
        (f"{TABLE}user = 1", "user of the 1. [[monitor]] must be text"),
        (f'{TABLE}credential = "a/b"', "no name of a credential"),
        (f'{TABLE}credential = "a"\npassword-file = "/x"', "a password-file and a credential"),
        (f'{TABLE}password-file = "x"', "relative"),
        (f'{ZMQ}curve-client-keys = "x"\ncredential = "key"', "relative"),
        (f'{ZMQ}curve-client-keys = "/x"', "no key of its own"),
        (f'{TABLE}curve-client-keys = "/x"\ncredential = "key"', "no zmq://"),
        (f"{TABLE}{TABLE}", "two monitors have the name 'fleet'"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(BridgeError) as caught:
        read(tmp_path, text)
    assert why in str(caught.value)


def test_magic_variables(tmp_path: Path) -> None:
    host = os.uname().nodename
    text = 'emperor = ["pg://;SELECT %h 5%%", "/srv/100%"]\n[[monitor]]\nname = "x"\nspec = "pg://;SELECT \'%h%n%u\'"\n'
    values = read(tmp_path, text)
    assert values["emperor"] == (f"pg://;SELECT {host} 5%", "/srv/100%")
    assert values["monitor"] == (MonitorTable(name="x", spec=f"pg://;SELECT '{host}bridge%u'"),)


def test_whoever_names_sources_names_all() -> None:
    table = (MonitorTable(name="x", spec="pg://"),)
    below = {"emperor": ("/b",), "monitor": table}
    assert merge([{"emperor": ("/a",)}, below]).monitor == ()
    assert merge([{"monitor": table}, {"emperor": ("/b",)}]).emperor == ()
    both = merge([{}, below])
    assert (both.emperor, both.monitor) == (("/b",), table)
