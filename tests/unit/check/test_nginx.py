from __future__ import annotations

import pytest

from bridge.check.nginx import find_passes

UPSTREAM = """\
upstream site {
    # server unix:/run/old.sock;
    server unix:/run/a.sock weight=2;
    server 127.0.0.1:9000;
}
server { location / { include uwsgi_params; uwsgi_pass site; } }
"""


def found(text: str) -> list[tuple[str, str, int]]:
    return [(one.protocol, str(one.address), one.line) for one in find_passes({"/etc/nginx/nginx.conf": text})]


@pytest.mark.parametrize(
    ("line", "protocol", "address"),
    [
        ("uwsgi_pass unix:/run/a.sock;", "uwsgi", "/run/a.sock"),
        ("uwsgi_pass unix:///run/a.sock;", "uwsgi", "/run/a.sock"),
        ("location / { fastcgi_pass 127.0.0.1:9000; }", "fastcgi", "127.0.0.1:9000"),
        ("scgi_pass localhost:9000;", "scgi", "127.0.0.1:9000"),
        ("proxy_pass http://127.0.0.1:9000/app/;", "http", "127.0.0.1:9000"),
        ("proxy_pass http://unix:/run/a.sock:/app/;", "http", "/run/a.sock"),
        ("proxy_pass http://unix:/run/a.sock;", "http", "/run/a.sock"),
    ],
)
def test_where_a_line_hands_requests_to(line: str, protocol: str, address: str) -> None:
    assert found(f"server {{\n    {line}\n}}\n") == [(protocol, address, 2)]


@pytest.mark.parametrize(
    "line", ["# uwsgi_pass unix:/run/a.sock;", "proxy_pass https://127.0.0.1:9000;", "uwsgi_pass $where;"]
)
def test_what_hands_nothing_to_a_known_address(line: str) -> None:
    assert [one for one in found(f"{line}\n") if one[1].startswith("/run") or "9000" in one[1]] == []


def test_an_upstream_is_all_its_servers() -> None:
    assert found(UPSTREAM) == [("uwsgi", "/run/a.sock", 6), ("uwsgi", "127.0.0.1:9000", 6)]


def test_an_upstream_may_be_in_another_file() -> None:
    texts = {"/a": "location / { proxy_pass http://site/x; }", "/b": UPSTREAM.partition("server {")[0]}
    assert [(one.path, one.protocol, str(one.address)) for one in find_passes(texts)] == [
        ("/a", "http", "/run/a.sock"),
        ("/a", "http", "127.0.0.1:9000"),
    ]
