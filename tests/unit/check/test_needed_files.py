"""Which files a config needs, and where uWSGI looks for them."""

from __future__ import annotations

import pytest

from bridge.check.needed_files import NEEDS_MAX, Need, find_needs
from bridge.uwsgi.options import Config, Option
from tests.unit.build import make_resolved

PLUGINS = "/usr/lib/uwsgi/plugins"


def needs(*lines: str, plugin_folder: str = PLUGINS, unread: tuple[str, ...] = ()) -> list[Need]:
    def options(texts: tuple[str, ...]) -> tuple[Option, ...]:
        return tuple(
            Option(key.strip(), value.strip(), "/v/app.ini", number)
            for number, (key, _, value) in enumerate((text.partition("=") for text in texts), start=2)
        )

    return find_needs(make_resolved(), Config("/v/app.ini", options(lines), options(unread)), plugin_folder)


def paths(*lines: str) -> list[list[str]]:
    return [[place.path for place in need.places] for need in needs(*lines)]


@pytest.mark.parametrize(
    ("line", "path"),
    [
        *((f"{key} = x", "/v/x") for key in ("wsgi-file", "file", "psgi", "rack", "home", "virtualenv", "spooler")),
        ("chdir = x", "/v/x"),
        ("chdir = /srv", "/srv"),
        ("static-map = /s=x", "/v/x"),
        ("static-map2 = /s=/srv/s", "/srv/s"),
        ("check-static = /srv/s", "/srv/s"),
        ("pythonpath = lib*", "/v/lib*"),
        ("plugins-dir = plugins", "/v/plugins"),
        ("logto = /var/log/a.log", "/var/log/a.log"),
        ("chroot = /srv/jail", "/srv/jail"),
    ],
)
def test_an_option_and_where_it_is_looked_for(line: str, path: str) -> None:
    assert paths(line)[0][0] == path


def test_the_folder_is_changed_before_the_app_is_loaded() -> None:
    assert paths("wsgi-file = a.py", "chdir = sub") == [["/v/sub/a.py"], ["/v/sub"]]
    # Each may be looked for before or after the second change.
    assert paths("wsgi-file = a.py", "chdir = sub", "chdir2 = /srv")[0] == ["/srv/a.py", "/v/sub/a.py"]
    assert paths("plugins-dir = p", "chdir = sub")[0] == ["/v/p"]
    assert paths("pp = lib", "chdir = sub")[0] == ["/v/sub/lib", "/v/lib"]


@pytest.mark.parametrize(
    "line",
    [
        "wsgi-file = $(HOME)/a.py",
        "wsgi-file = %(x)/a.py",
        "wsgi-file = http://example.com/a.py",
        "wsgi-file =",
        "logto = 127.0.0.1:1717",
        "static-map = /s",
        "module = os.path.join()",
        "plugin = $(X)",
        "harakiri = 30",
    ],
)
def test_what_cannot_be_known_or_is_no_file(line: str) -> None:
    if line.startswith("module"):
        assert [need.name for need in needs(line)] == ["module os"]
    else:
        assert needs(line) == []


def test_where_the_folder_is_unknown_only_whole_paths_are_looked_for() -> None:
    for unread, lines in ((("chdir = /x",), ()), ((), ("chdir = $(X)",))):
        found = needs("wsgi-file = a.py", "file = /srv/a.py", "module = a", *lines, unread=unread)
        assert [need.places[0].path for need in found] == ["/srv/a.py"]


def test_in_a_chroot_the_files_are_elsewhere() -> None:
    assert paths("wsgi-file = /a.py", "chroot = /srv/jail", "https-socket = :1,/c,/k") == [
        ["/srv/jail"],
        ["/c"],
        ["/k"],
    ]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("https = :443,a.crt,a.key", ["/v/a.crt", "/v/a.key"]),
        ("https-socket = :443,/a.crt,/a.key,HIGH,!ca.pem", ["/a.crt", "/a.key"]),
        ("https2 = addr=:443,cert=/a.crt,key=/a.key,spdy=1", ["/a.crt", "/a.key"]),
        ("sni = example.com /a.crt,/a.key", ["/a.crt", "/a.key"]),
        ("https = :443", []),
    ],
)
def test_certificates_and_keys(line: str, found: list[str]) -> None:
    assert [path for (path,) in paths(line)] == found
    assert all(need.is_early for need in needs(line))


def test_plugins_are_in_the_folders_of_the_config_and_of_uwsgi() -> None:
    (one, other, third) = needs("plugin = python3, 0:/opt/x|init", "need-plugin = y_plugin.so")
    assert [place.path for place in one.places] == [f"{PLUGINS}/python3_plugin.so"]
    assert [place.path for place in other.places] == ["/opt/x_plugin.so"]
    assert [place.path for place in third.places] == [f"{PLUGINS}/y_plugin.so"]
    (_, one) = needs("plugins-dir = /p", "plugin = x")
    assert [place.path for place in one.places] == ["/p/x_plugin.so", f"{PLUGINS}/x_plugin.so"]
    # Its own plugins may be part of the binary.
    assert needs("plugin = python3", plugin_folder="") == []


def test_a_module_may_be_in_many_places() -> None:
    (_, _, need) = needs("chdir = app", "pythonpath = lib", "module = shop.wsgi:application")
    found = [place.path for place in need.places]
    assert found[:2] == ["/v/app/shop.py", "/v/app/shop"]
    assert {"/v/lib/shop.py", "/v/app/lib/shop", "/usr/lib/python3*/dist-packages/shop"} <= set(found)
    (_, need) = needs("home = env", "module = shop")
    assert "/v/env/lib*/python3*/site-packages/shop" in {place.path for place in need.places}
    assert "/v/env/lib*/python3*/site-packages/__editable__*" in {place.path for place in need.places}
    assert [one.name for one in needs("env = PYTHONPATH=/x", "module = shop")] == []


def test_logs_are_written_and_before_or_after_the_user_changes() -> None:
    early, late = needs("logto = /a", "logto2 = /b")
    assert early.places[0].is_written
    assert (early.is_early, late.is_early) == (True, False)


def test_a_config_with_many_options_is_not_looked_through() -> None:
    assert len(needs(*(f"static-map = /{n}=/srv/{n}" for n in range(2 * NEEDS_MAX)))) == NEEDS_MAX
