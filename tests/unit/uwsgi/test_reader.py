from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bridge.uwsgi import reader
from bridge.uwsgi.options import Config, ConfigError
from bridge.uwsgi.reader import ProcessView, read
from tests.unit.root import needs_root

if TYPE_CHECKING:
    from collections.abc import Iterator

TENANT = 12345
VIEW = ProcessView(environ={})


def write(path: Path, text: str, *, owner: int | None = None, mode: int = 0o644) -> Path:
    path.write_text(text)
    path.chmod(mode)
    if owner is not None:
        os.chown(path, owner, owner)
    return path


def options(config: Config) -> list[tuple[str, str, str, int]]:
    return [(o.key, o.value, Path(o.path).name, o.line) for o in config.options]


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder everybody can reach, as the ones pytest makes are not."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_parser_by_extension(tmp_path: Path) -> None:
    texts = {
        "ini": "[uwsgi]\na=%n\n",
        "yml": "uwsgi:\n a: %n\n",
        "js": '{"uwsgi":\n{"a":"%n"}}',
        "xml": "<uwsgi>\n<a>%n</a></uwsgi>",
    }
    for extension, text in [*texts.items(), ("conf", texts["ini"])]:
        path = write(tmp_path / f"v.{extension}", text)
        assert options(read(str(path), VIEW)) == [("a", "v", path.name, 2)]


def test_line_after_a_swallowed_line_break(tmp_path: Path) -> None:
    path = write(tmp_path / "v.ini", "[uwsgi]\na = 50%\nb\nc = 1\n")
    assert options(read(str(path), VIEW)) == [("a", "50b", "v.ini", 2), ("c", "1", "v.ini", 4)]


def test_includes_have_their_own_place(tmp_path: Path) -> None:
    write(tmp_path / "more.ini", "\n[uwsgi]\nb = %n %N\n")
    path = write(tmp_path / "v.ini", "[uwsgi]\na = 1\ninclude = more.ini\n")
    config = read(str(path), VIEW)
    assert options(config)[-1] == ("b", "more v", "more.ini", 3)
    assert config.unread == ()


@needs_root
@pytest.mark.parametrize(
    ("owner", "mode", "followed"),
    [(TENANT, 0o600, True), (0, 0o644, True), (0, 0o640, False), (TENANT + 1, 0o644, False)],
)
def test_whose_includes_are_followed(open_folder: Path, owner: int, mode: int, followed: bool) -> None:
    write(open_folder / "more.ini", "[uwsgi]\nb = 1\n", owner=owner, mode=mode)
    path = write(open_folder / "v.ini", "[uwsgi]\ninclude = more.ini\n", owner=TENANT)
    config = read(str(path), VIEW)
    assert (("b", "1", "more.ini", 2) in options(config)) is followed
    assert [o.value for o in config.unread] == ([] if followed else ["more.ini"])


@needs_root
def test_a_readable_file_in_a_closed_folder_is_not_followed(open_folder: Path) -> None:
    closed = open_folder / "closed"
    closed.mkdir(mode=0o700)
    write(closed / "more.ini", "[uwsgi]\nsecret = 1\n")
    (open_folder / "link.ini").symlink_to(closed / "more.ini")
    path = write(open_folder / "v.ini", "[uwsgi]\ninclude = link.ini\n", owner=TENANT)
    config = read(str(path), VIEW)
    assert [o.key for o in config.options] == ["include"]
    assert len(config.unread) == 1


@needs_root
def test_no_way_through_roots_file_to_its_private_ones(open_folder: Path) -> None:
    write(open_folder / "private.ini", "[uwsgi]\nsecret = 1\n", mode=0o600)
    write(open_folder / "public.ini", "[uwsgi]\ninclude = private.ini\n")
    path = write(open_folder / "v.ini", "[uwsgi]\ninclude = public.ini\n", owner=TENANT)
    config = read(str(path), VIEW)
    assert [o.key for o in config.options] == ["include", "include"]
    assert [Path(o.path).name for o in config.unread] == ["public.ini"]


@pytest.mark.parametrize("value", ["http://x/y.ini", "exec://id", "data://0", "-", "x.conf", "more.ini:"])
def test_includes_that_are_no_files_are_unread(tmp_path: Path, value: str) -> None:
    path = write(tmp_path / "v.ini", f"[uwsgi]\ninclude = {value}\n")
    assert [o.value for o in read(str(path), VIEW).unread] == [value]


def test_include_loop(tmp_path: Path) -> None:
    path = write(tmp_path / "v.ini", "[uwsgi]\ninclude = v.ini\n")
    with pytest.raises(ConfigError, match="nested too deep"):
        read(str(path), VIEW)


def test_includes_are_bounded_in_number_and_size(tmp_path: Path) -> None:
    write(tmp_path / "more.ini", "[uwsgi]\nb = 1\n")
    path = write(tmp_path / "v.ini", "[uwsgi]\nfor-times = 5000\ninclude = more.ini\nendfor\n")
    with pytest.raises(ConfigError, match="too many files"):
        read(str(path), VIEW)
    with pytest.raises(ConfigError, match="too long"):
        read(str(path), VIEW, max_bytes=path.stat().st_size + 30)


def test_include_of_something_else_names_the_line(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.ini")
    for value in ("fifo.ini", "nowhere.ini", "/dev/../dev/full.ini", "/"):
        path = write(tmp_path / "v.ini", f"[uwsgi]\nini = {value}\n")
        with pytest.raises(ConfigError) as caught:
            read(str(path), VIEW)
        assert (caught.value.path, caught.value.line) == (str(path), 2)


def rejection(path: Path | str, *, max_bytes: int = reader.MAX_BYTES) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        read(str(path), VIEW, max_bytes=max_bytes)
    return caught.value


def test_what_is_not_a_config(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.ini")
    assert "not a regular file" in rejection(tmp_path / "fifo.ini").message
    assert "not a regular file" in rejection("/dev/zero").message
    assert "directory" in rejection(tmp_path).message.lower() or "regular" in rejection(tmp_path).message
    assert "No such file" in rejection(tmp_path / "none.ini").message
    assert "too long" in rejection(write(tmp_path / "big.ini", "x" * 100), max_bytes=99).message
    loop = tmp_path / "loop.ini"
    loop.symlink_to(loop)
    assert rejection(loop).hint
    nul = rejection(write(tmp_path / "nul.ini", "[uwsgi]\na\0b\n"))
    assert (nul.line, "NUL" in nul.message) == (2, True)


def test_errors_echo_nothing_of_the_file(tmp_path: Path) -> None:
    secret = write(tmp_path / "shadow", "root: '$6$secret\n")
    for extension in ("xml", "yaml", "json"):
        link = tmp_path / f"v.{extension}"
        link.symlink_to(secret)
        error = rejection(link)
        assert "secret" not in f"{error} {error.hint} {error.message} {error.__cause__}"


def test_file_conditions(tmp_path: Path) -> None:
    text = "[uwsgi]\nif-file = v.ini\na = 1\nendif\nif-dir = .\nb = 1\nendif\nif-exists = \0none\n"
    path = write(tmp_path / "v.ini", text.replace("\0", ""))
    assert [o.key for o in read(str(path), VIEW).options] == ["a", "b"]


def test_nothing_slow_is_imported_for_an_ini_file(tmp_path: Path) -> None:
    path = write(tmp_path / "v.ini", "[uwsgi]\na = 1\n")
    code = (
        "import sys; from bridge.uwsgi.reader import ProcessView, read;"
        "read(sys.argv[1], ProcessView(environ={}));"
        "sys.exit(any(m in sys.modules for m in ('yaml', 'defusedxml', 'xml', 'json')))"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, timeout=20)


ESCAPES: dict[str, tuple[dict[str, str], list[tuple[str, str]]]] = {
    "a file named as the command line": ({"app.ini": "ini = $0", "$0": "include = SECRET"}, []),
    "a placeholder of the admin's": ({"app.ini": "team = SECRET"}, [("inherit", "%(team)")]),
    "the environment": ({"app.ini": "env = TEAM=SECRET"}, [("inherit", "$(TEAM)")]),
    "a loop left open": ({"app.ini": "for = SECRET"}, [("include", "%(_)")]),
    "an option declared": ({"app.ini": "declare-option = team=include=SECRET;x=$1"}, [("set", "team=1")]),
    "an include": ({"app.ini": "include = SECRET"}, []),
}


@needs_root
@pytest.mark.parametrize("way", ESCAPES)
def test_no_tenant_has_a_secret_read(open_folder: Path, way: str) -> None:
    """The bridge is root: what it reads for a tenant the tenant must be able to read."""
    files, after = ESCAPES[way]
    secret = open_folder / "root" / "secret.ini"
    secret.parent.mkdir(mode=0o700)
    secret.write_text("[uwsgi]\nprocname = secret\n", "utf-8")
    secret.chmod(0o600)
    folder = open_folder / "tenant"
    folder.mkdir()
    for name, text in files.items():
        path = folder / name
        path.write_text(f"[uwsgi]\n{text.replace('SECRET', str(secret))}\n", "utf-8")
        os.chown(path, TENANT, TENANT)
    found = read(str(folder / "app.ini"), ProcessView(environ={}, cwd=str(folder), after=after))
    assert "secret" not in {option.value for option in found.options if option.key == "procname"}


@needs_root
@pytest.mark.parametrize("value", ["@(secret)", "@(own)", "@(link)"])
def test_no_tenant_has_a_secret_put_into_a_value(open_folder: Path, value: str) -> None:
    write(open_folder / "secret", "hush\n").chmod(0o600)
    (open_folder / "link").symlink_to("secret")
    for name, text in (("own", "@(secret)"), ("app.ini", f"[uwsgi]\nsocket = {value}\n")):
        os.chown(write(open_folder / name, text), TENANT, TENANT)
    config = read(
        str(open_folder / "app.ini"), ProcessView(environ={}, cwd=str(open_folder), before=[("set", f"x={value}")])
    )
    assert not any("hush" in option.value for option in config.options)
    assert "socket" in {option.key for option in config.unread}


@needs_root
def test_what_everybody_may_read_is_put_into_a_value(open_folder: Path) -> None:
    app = write(
        open_folder / "app.ini", "[uwsgi]\nsocket = @(own)\nhost = @(/etc/passwd)\nstdin = @(-)\nx = @(exec://id)\n"
    )
    for path in (app, write(open_folder / "own", ":3031\n")):
        os.chown(path, TENANT, TENANT)
    config = read(str(app), ProcessView(environ={}, cwd=str(open_folder)))
    assert [option.value for option in config.all("socket")] == [":3031"]
    assert "root:" in next(config.all("host")).value
    assert {option.key for option in config.unread} == {"stdin", "x"}
    assert config.asked == (str(open_folder / "own"), "/etc/passwd")


@needs_root
def test_the_admins_templates_are_read(open_folder: Path) -> None:
    template = open_folder / "template.ini"
    template.write_text("[uwsgi]\nprocname = template\n", "utf-8")
    template.chmod(0o600)
    config = open_folder / "app.ini"
    config.write_text("[uwsgi]\n", "utf-8")
    os.chown(config, TENANT, TENANT)
    found = read(str(config), ProcessView(environ={}, cwd=str(open_folder), before=[("inherit", str(template))]))
    assert [option.value for option in found.options if option.key == "procname"] == ["template"]


PLACES = [
    "/proc/kmsg",
    "/proc/self/environ",
    "/proc/version",
    "/sys/kernel/notes",
    "/dev/zero",
    "/dev/kmsg",
    "/etc",
    "fifo",
]


@needs_root
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("option", ["ini = {}", "include = {}.ini", "json = {}", "xml = {}", "yaml = {}", "a = @({})"])
def test_what_is_no_file_is_refused_unopened(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch, place: str, option: str
) -> None:
    if not os.path.lexists(place) and place != "fifo":
        pytest.skip(f"there is no {place}")
    os.mkfifo(open_folder / "fifo")
    (open_folder / "place").symlink_to(place)
    (open_folder / "place.ini").symlink_to(place)
    opened: list[str] = []
    real_open = os.open

    def noted(path: str, flags: int, *args: int, **kwargs: int) -> int:
        if not flags & os.O_PATH:
            opened.append(os.readlink(path))
        return real_open(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", noted)
    for owner in (0, TENANT):
        path = write(open_folder / "v.ini", f"[uwsgi]\n{option.format('place')}\n", owner=owner)
        opened.clear()
        # A tenant's link of the kernel's is followed no further: what it leads to is not known.
        with contextlib.suppress(ConfigError):
            assert len(read(str(path), VIEW).unread) == 1
        assert opened == [str(path)]


def test_a_config_that_is_no_file_is_refused_unopened(open_folder: Path) -> None:
    for place in ("/proc/version", "/sys/kernel/notes", "/dev/zero"):
        link = open_folder / "v.ini"
        link.symlink_to(place)
        assert rejection(link).message.startswith("cannot be read: it is ")
        link.unlink()


@needs_root
@pytest.mark.parametrize("option", ["ini = {}", "a = @({})", "if-exists = {}\na = 1\nendif"])
def test_a_tenant_cannot_ask_what_others_hide(open_folder: Path, option: str) -> None:
    closed = open_folder / "closed"
    closed.mkdir(mode=0o700)
    write(closed / "there.ini", "[uwsgi]\n" + "x" * 2_000_000, owner=TENANT)
    found = []
    for name in ("there.ini", "missing.ini"):
        path = write(open_folder / "v.ini", f"[uwsgi]\n{option.format(f'closed/{name}')}\n", owner=TENANT)
        config = read(str(path), ProcessView(environ={}, tenant=TENANT))
        found.append([o.key for o in (*config.options, *config.unread)])
    assert found[0] == found[1]


@needs_root
def test_a_config_that_its_tenant_may_not_read(open_folder: Path) -> None:
    path = write(open_folder / "v.ini", "[uwsgi]\na = 1\n", owner=TENANT + 1, mode=0o600)
    with pytest.raises(ConfigError, match=f"uid {TENANT}, as whom it would run, may not read it"):
        read(str(path), ProcessView(environ={}, tenant=TENANT))
    path.chmod(0o644)
    assert [o.key for o in read(str(path), ProcessView(environ={}, tenant=TENANT)).options] == ["a"]


def test_conditions_ask_about_a_bounded_number_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "_MAX_TESTED", 3)
    path = write(tmp_path / "v.ini", "[uwsgi]\nfor = 1 2 3\nendfor\n" + "if-exists = a\nb = 1\nendif\n" * 9)
    assert len(read(str(path), VIEW).asked) == 1
    path = write(tmp_path / "v.ini", "[uwsgi]\n" + "".join(f"if-dir = {n}\nendif\n" for n in range(4)))
    assert "too many files" in rejection(path).message


def test_an_included_file_may_describe_a_first_config_that_does_not_describe_itself(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    (tmp_path / "link").symlink_to(real)
    (real / "v.ini").write_text("[uwsgi]\nini = more.ini\n")
    (real / "more.ini").write_text("[uwsgi]\nchdir = %D\ntouch-reload = %d%n and %O\n")
    path = f"{tmp_path}/link/v.ini"
    options = read(path, ProcessView(environ={}, cwd=str(real))).options
    assert [o.value for o in options if o.path == "more.ini"] == [f"{real}/", f"{real}/more and {path}"]
