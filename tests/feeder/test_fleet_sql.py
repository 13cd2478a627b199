"""The SQL of the manual's page about fleets: every statement, as its role, on PostgreSQL servers."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from bridge.feeder.pg_trigger import trigger_sql
from bridge.feeder.protocol import Orders

from ..servers import manual
from ..servers.fake import free_port
from ..servers.feeder import Feeder
from ..servers.postgres import Postgres, binaries
from .places import folder_for_postgres

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = "emperor-bridge-fleet.7"
FOR_DEPLOY = re.compile(r"(INSERT|UPDATE|DELETE|SELECT(?!.* FROM pg_)) ")
FOR_THE_OTHER = "CREATE SUBSCRIPTION"
SHOP = "INSERT INTO clusters (name, hosts, config, socket) VALUES ('shop.ini', ARRAY['web1', 'web2'], '', '/run/shop')"


class Sites(Postgres):
    """A server with the database ``sites``, which anybody may enter here."""

    def create(self) -> None:
        super().create()
        self.sql("ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'; CREATE DATABASE sites")
        self.stop()
        self.start()
        self.typed("CREATE EXTENSION pg_stat_statements")

    def typed(self, text: str, user: str = "postgres") -> str:
        return self.sql(f"\\connect sites {user}\n{text}")

    def refusal(self, text: str, user: str) -> str:
        command = [str(binaries() / "psql"), "-Xq", "-c", text, f"host={self.folder} port={self.port} dbname=sites"]
        environment = {"PGUSER": user, "PATH": "/usr/bin:/bin"}
        return str(subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stderr)

    def orders(self, user: str, query: str) -> Orders:
        conninfo = f"host={self.folder} port={self.port} user={user} dbname=sites"
        return Orders(scheme="pg", options={"conninfo": conninfo, "query": query.replace("%h", user)}, freq=3600)


def query_of_the_spec() -> str:
    spec = re.search(r'spec = "pg://[^;]*;(.*)"', manual.block(PAGE, '[[monitor]]\nname = "fleet"\nspec = "pg'))
    assert spec
    return spec[1]


@pytest.fixture
def servers() -> Iterator[tuple[Sites, Sites]]:
    with folder_for_postgres() as folder:
        both = (Sites(folder / "first", free_port()), Sites(folder / "other", free_port()))
        for server in both:
            server.create()
        yield both
        for server in both:
            server.stop("immediate")


def test_all_statements_of_the_manual_work_for_their_roles(servers: tuple[Sites, Sites]) -> None:
    first, other = servers
    statements = manual.sql(PAGE)
    set_up = [text for text in statements if not FOR_DEPLOY.match(text) and "pg_stat" not in text]
    set_up.remove(subscription := next(text for text in set_up if text.startswith(FOR_THE_OTHER)))
    for server in servers:
        server.typed("".join(set_up) + trigger_sql("vassals") + trigger_sql("clusters"))
    there = subscription.replace("host=db", f"host={first.folder} port={first.port}")
    other.typed(there)

    first.typed(SHOP, "deploy")
    clusters = manual.block(PAGE, "SELECT name, config, ts, uid, gid, socket FROM clusters")
    with (
        Feeder(first.orders("web1", query_of_the_spec())) as web1,
        Feeder(other.orders("web2", query_of_the_spec())) as web2,
        Feeder(first.orders("web3", clusters)) as web3,
    ):
        assert (web1.names(), web2.names(), web3.names()) == ([], [], [])
        for text in statements:
            if FOR_DEPLOY.match(text) and "%h" not in text:
                printed = first.typed(text, "deploy")
                if text.startswith("INSERT INTO vassals (host, name, config, socket)"):
                    assert web1.names() == ["blog.ini"]
                elif text.startswith("UPDATE vassals"):
                    assert "processes = 2" in str(web1.answer()[0].config)
                elif text.startswith("INSERT"):
                    assert web2.names() == ["blog.ini"]
                elif text.startswith("SELECT"):
                    assert printed == "server web2:9001;"
        assert web3.names() == ["shop.ini"]
        assert web1.names() == []
        connected, questions = (first.typed(text) for text in statements if " FROM pg_" in text)
        assert connected == "2"
        assert int(questions.partition("|")[0]) >= 3


def test_a_host_reads_its_own_rows_and_changes_nothing(servers: tuple[Sites, Sites]) -> None:
    first, _ = servers
    statements = manual.sql(PAGE)
    first.typed("".join(text for text in statements if text.startswith(("CREATE TABLE", "CREATE ROLE", "REVOKE"))))
    first.typed(
        "INSERT INTO vassals (host, name, config) VALUES ('web1', 'a.ini', ''), ('web2', 'b.ini', '')", "deploy"
    )
    first.typed(SHOP, "deploy")
    assert first.typed("SELECT name FROM vassals", "web1") == "a.ini"
    assert first.typed("SELECT name FROM clusters", "web2") == "shop.ini"
    assert first.typed("SELECT name FROM clusters", "web3") == ""
    assert first.typed("SELECT count(*) FROM vassals", "pooled") == "2"
    for text in ("DELETE FROM vassals", "UPDATE vassals SET host = 'web1'", "INSERT INTO vassals VALUES ('web1')"):
        assert "permission denied" in first.refusal(text, "web1")
    for text in ("CREATE TABLE t (x int)", "ALTER TABLE vassals DISABLE ROW LEVEL SECURITY"):
        assert first.refusal(text, "deploy")
    first.sql("CREATE ROLE stranger LOGIN")
    assert "permission denied for database" in first.refusal("SELECT 1", "stranger")
