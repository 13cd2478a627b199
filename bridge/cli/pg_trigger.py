"""``emperor-bridge pg-trigger``: SQL for the admin of a database."""

from __future__ import annotations

import click

_EPILOG = """\b
Examples:
  emperor-bridge pg-trigger | psql sites
  emperor-bridge pg-trigger hosting.vassals
"""


@click.command("pg-trigger", epilog=_EPILOG, short_help="Print the SQL by which PostgreSQL tells of changes.")
@click.argument("table", default="vassals")
def pg_trigger(*, table: str) -> None:
    """Print the SQL that makes PostgreSQL tell the bridge of every change of TABLE, by default "vassals".

    Without it, a monitor pg:// asks at emperor-freq. Run the SQL as the table's owner. It can be run again. If the
    monitor's query reads several tables, make a trigger for each. Write TABLE as PostgreSQL stores it, without quotes.
    """
    from bridge.cli import output
    from bridge.feeder.pg_trigger import trigger_sql

    output.print_line(trigger_sql(table).rstrip())
