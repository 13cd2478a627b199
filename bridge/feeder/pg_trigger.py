"""The SQL that makes PostgreSQL tell of changes."""

from __future__ import annotations

CHANNEL = "emperor_vassals"
"""The channel that the feeder listens on (LISTEN and NOTIFY of PostgreSQL)."""


def quoted(table: str) -> str:
    """Return a table's name, perhaps with its schema before a dot, so that it stands for itself in SQL."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in table.split("."))


def trigger_sql(table: str) -> str:
    """Return the SQL for a table: triggers that notify the channel of each statement that changes rows.

    It can be run again. PostgreSQL sends the notification when the transaction commits, and once for each
    transaction (NOTIFY in its manual).
    """
    name = quoted(table)
    return f"""\
-- Tells emperor-bridge of changes of {" ".join(name.split())}. Run it as the table's owner.
BEGIN;

CREATE OR REPLACE FUNCTION {CHANNEL}_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_catalog.pg_notify('{CHANNEL}', '');
    RETURN NULL;
END
$$;

DROP TRIGGER IF EXISTS {CHANNEL}_changed ON {name};
CREATE TRIGGER {CHANNEL}_changed
    AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON {name}
    FOR EACH STATEMENT EXECUTE FUNCTION {CHANNEL}_changed();

-- Changes that come by logical replication are told too. TRUNCATE fires triggers of statements there, all others only
-- those of rows.
ALTER TABLE {name} ENABLE ALWAYS TRIGGER {CHANNEL}_changed;
DROP TRIGGER IF EXISTS {CHANNEL}_replicated ON {name};
CREATE TRIGGER {CHANNEL}_replicated
    AFTER INSERT OR UPDATE OR DELETE ON {name}
    FOR EACH ROW EXECUTE FUNCTION {CHANNEL}_changed();
ALTER TABLE {name} ENABLE REPLICA TRIGGER {CHANNEL}_replicated;

COMMIT;
"""
