"""The options for what a uWSGI runs beside its workers, and what ends with it.

core/uwsgi.c, ``uwsgi_base_options``, and the tables of the plugins Debian builds, uWSGI 2.0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.uwsgi.options import is_on
from bridge.uwsgi.socket_options import BINDS_IN_MASTER

if TYPE_CHECKING:
    from bridge.uwsgi.options import Config, Option

JOBS = frozenset(
    {"cron", "cron2", "unique-cron", "legion-cron", "legion-cron2", "unique-legion-cron", "spooler", "spooler-external"}
    | {"mule", "mules", "farm", "attach-daemon", "attach-daemon2", "attach-control-daemon", "smart-attach-daemon"}
    | {"smart-attach-daemon2", "legion-attach-daemon", "legion-smart-attach-daemon"}
)
"""Options for what the master runs beside its workers and stops when it ends."""
_SERVICES = BINDS_IN_MASTER | {
    *("emperor", "worker-exec", "subscribe", "subscribe-to", "subscribe-with-modifier1", "subscribe2"),
    *("legion", "legion-mcast", "zergpool", "zerg-pool", "zerg-server", "gossip"),
}
"""Options for what others than the clients of its request sockets use, or what announces it to a router."""


def find_what_must_run(config: Config) -> Option | None:
    """Return the first option, if any, for which a uWSGI has work to do while no request comes."""
    return next((option for option in config.all(*JOBS, *_SERVICES) if is_on(option.value)), None)
