"""Vassals rendered as unit files.

Pure: data in, texts out. Templates get finished values and systemd's own quoting as filters (``value``, ``argument``);
the mark that makes a file the bridge's is put in front here, so that no template of an admin's can forget it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from hashlib import blake2b
from traceback import extract_tb
from typing import TYPE_CHECKING

from bridge.diagnostics import BridgeError, Diagnostic, printable
from bridge.model.address import InetAddress, UnixAddress
from bridge.units.quoting import UNIT_NAME_MAX, EscapeError, argument, value, word

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jinja2 import Environment

    from bridge.model.vassal import ResolvedVassal

SLICES = 128
"""Sub-slices the vassals are spread over: daemon-reload is quadratic in the units of one slice."""
SHARES = tuple("0123456789abcdef")
"""Shares in which all sockets are started, one after the other: a transaction of thousands leaves PID 1 fragmented."""
PAUSE_PREFIX = "pause-"
"""What the name of a vassal's service gets in front for the unit that is its pause after a failure."""

TARGET = "vassals.target"
STARTER = "vassals-start.service"
SOCKETS = "vassals-sockets@.target"
SERVICES = "vassals-services.target"
SLICE = "vassals.slice"
PAUSE_SCRIPT = "vassals-pause"
"""What every vassal's service runs when it has ended; no unit, but it lives and goes with them."""
COMMON = (TARGET, STARTER, SOCKETS, SERVICES, SLICE, PAUSE_SCRIPT)
"""The files that are there once, whatever the number of vassals."""

SUB_SLICE = re.compile(r"vassals-[0-9a-f]{2}(-[0-9]+)?\.slice")
"""The names :func:`slice_of` gives; these slices have no files."""

_MARK = "X-EmperorBridge"


@dataclass(frozen=True, kw_only=True, slots=True)
class Throttle:
    """How long a vassal that fails is left alone, in seconds (``emperor-throttle``, ``emperor-max-throttle``)."""

    step: int = 1
    """Added at each failure after the last."""
    longest: int = 180

    @property
    def memory(self) -> int:
        """Minutes after which an earlier failure is forgotten: more than the longest pause and a slow start."""
        return self.longest // 30 + 2


@dataclass(frozen=True, slots=True)
class Mark:
    """What a unit file says of itself: that it is the bridge's, and what it was made from."""

    unit: str
    config: str = ""
    """The vassal's config; empty for the units of all vassals together."""
    name: str = ""
    """The vassal's name."""
    monitor: str = ""
    """The monitor that reported the vassal."""
    address: str = ""
    """The address of its rule; empty if it runs always."""


DEFAULT_THROTTLE = Throttle()


def render(
    resolved: ResolvedVassal, templates: Environment, *, throttle: Throttle = DEFAULT_THROTTLE
) -> dict[str, str]:
    """Render one vassal's unit files; the keys are their names.

    Raises:
        EscapeError: a value cannot be expressed in a unit file.
        BridgeError: a template of the admin's is at fault.
    """
    vassal, address = resolved.vassal, resolved.address
    mark = Mark(unit="", config=vassal.config, name=vassal.name, monitor=vassal.monitor, address=str(address or ""))
    shown = printable(vassal.name)
    texts = {
        vassal.service: _fill(
            templates,
            "vassal.service.j2",
            description=f"uWSGI vassal {shown}",
            execution=resolved.spawn,
            directory=vassal.directory,
            slice=slice_of(vassal.label, resolved.spawn.tenant),
            on_demand=address is not None,
            throttle=throttle,
            pause=pause_of(vassal.service),
            is_usual_pause=pause_of(vassal.service) == PAUSE_PREFIX + vassal.service,
        ),
    }
    if address is not None:
        texts[vassal.socket] = _fill(
            templates,
            "vassal.socket.j2",
            description=f"Socket of uWSGI vassal {shown}",
            address=str(address),
            slice=slice_of(vassal.label, resolved.spawn.tenant),
            access=resolved.access,
            backlog=resolved.backlog,
            unix=isinstance(address, UnixAddress),
            starter=starter_of(vassal.socket),
            wildcard=not (isinstance(address, InetAddress) and not address.ip.is_unspecified),
        )
    return {unit: _marked(unit, text, mark) for unit, text in texts.items()}


def render_common(
    templates: Environment, *, user_manager: bool, throttle: Throttle = DEFAULT_THROTTLE
) -> dict[str, str]:
    """Render the units that all vassals share.

    Raises:
        BridgeError: a template of the admin's is at fault.
    """
    return {
        unit: _marked(
            unit,
            _fill(
                templates,
                f"{unit}.j2",
                user_manager=user_manager,
                scope=" --user" if user_manager else "",
                boot_target=boot_target(user_manager=user_manager),
                throttle=throttle,
                prefix=PAUSE_PREFIX,
            ),
            Mark(unit=unit),
        )
        for unit in COMMON
    }


def boot_target(*, user_manager: bool) -> str:
    """Return the target that pulls the vassals in at boot, or at the start of a user's manager."""
    return "default.target" if user_manager else "multi-user.target"


def starter_of(unit: str) -> str:
    """Return the target that wants this unit of a vassal: where its link belongs."""
    if not unit.endswith(".socket"):
        return SERVICES
    label = unit.removeprefix("vassal-").removesuffix(".socket")
    return SOCKETS.replace("@", f"@{SHARES[_spread(label) % len(SHARES)]}")


def service_of(socket: str) -> str:
    """Return the service that a vassal's socket starts."""
    return socket.removesuffix(".socket") + ".service"


def link_path(unit: str) -> str:
    """Return where the link belongs that has a unit of a vassal started, below the unit directory."""
    return f"{starter_of(unit)}.wants/{unit}"


def pause_of(service: str) -> str:
    """Return the unit that is a service's pause after a failure; it is there while the pause lasts."""
    name = PAUSE_PREFIX + service
    if len(name) <= UNIT_NAME_MAX:
        return name
    return f"{PAUSE_PREFIX}vassal-{blake2b(service.encode(), digest_size=16).hexdigest()}.service"


def slice_of(label: str, tenant: int | None = None) -> str:
    """Return the sub-slice a vassal lives in: by its name, or one for each tenant, by uid, within such a sub-slice."""
    key = label if tenant is None else str(tenant)
    spread = f"{_spread(key) % SLICES:02x}"
    return f"vassals-{spread}.slice" if tenant is None else f"vassals-{spread}-{tenant}.slice"


def _spread(key: str) -> int:
    return blake2b(key.encode(), digest_size=2).digest()[0]


def read_mark(unit: str, text: str) -> Mark | None:
    """Return the mark of a unit file, or None if it is not the bridge's.

    A marked file copied to another name is not the bridge's either.
    """
    lines = [line.removeprefix(_comment(unit)) for line in text.split("\n", 8)[1:7]]
    if f"[{_MARK}]" not in lines:
        return None
    facts: dict[str, str] = {}
    for line in lines[lines.index(f"[{_MARK}]") + 1 :]:
        key, equals, quoted = line.partition("=")
        try:
            fact = json.loads(quoted) if equals else None
        except ValueError:
            break
        if not isinstance(fact, str):
            break
        facts[key.lower()] = fact
    if facts.get("unit") != unit:
        return None
    return Mark(**{key: fact for key, fact in facts.items() if key in Mark.__dataclass_fields__})


def make_templates(folders: Sequence[str]) -> Environment:
    """Return the templates, each taken from the first folder that has a file of its name."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(folders),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 - these are unit files; the filters below write systemd's quoting
        keep_trailing_newline=True,
        auto_reload=False,
    )
    environment.filters |= {"value": value, "word": word, "argument": argument}
    return environment


def _fill(templates: Environment, template: str, /, **values: object) -> str:
    from jinja2 import TemplateSyntaxError

    path = template
    try:
        found = templates.get_template(template)
        path = found.filename or template
        return found.render(**values)
    except EscapeError:
        raise
    except TemplateSyntaxError as error:
        problem = Diagnostic(
            code="template",
            path=error.filename or template,
            line=error.lineno,
            message=f"the template is not valid: {error.message}",
            hint="mend it or remove it",
        )
        raise BridgeError(problem) from error
    except Exception as error:
        # A template is a program of the admin's: it can raise anything, and may not even be there or readable.
        # Jinja's traceback tells the template's own lines.
        frames = [frame.lineno for frame in extract_tb(error.__traceback__) if frame.filename == path]
        problem = Diagnostic(
            code="template",
            path=path,
            line=frames[-1] if frames else None,
            message=f"the template cannot be filled: {error}",
            hint="mend it or remove it",
        )
        raise BridgeError(problem) from error


def _marked(unit: str, text: str, mark: Mark) -> str:
    facts: Mapping[str, str] = {
        "Unit": unit,
        "Config": mark.config,
        "Name": mark.name,
        "Monitor": mark.monitor,
        "Address": mark.address,
    }
    comment = _comment(unit)
    written = "".join(f"{comment}{key}={json.dumps(fact)}\n" for key, fact in facts.items() if fact)
    instead = "" if comment else f" Use a drop-in instead: systemctl edit '{unit}'"
    return f"# Made by emperor-bridge; edits are overwritten.{instead}\n{comment}[{_MARK}]\n{written}\n{text}"


def _comment(unit: str) -> str:
    """Return what makes a line of the mark a comment, where it is not a section that systemd passes over."""
    return "# " if unit == PAUSE_SCRIPT else ""
