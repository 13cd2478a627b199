"""Render vassals as unit files.

Pure: data in, texts out. Templates get finished values, and filters (``value``, ``argument``, ``arguments``, ``word``)
that write systemd's own quoting. The mark is put in front here, so that no template of an admin's can forget it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from bridge.diagnostics import BridgeError, Diagnostic, printable
from bridge.model.address import InetAddress, UnixAddress
from bridge.model.unit import Mark
from bridge.model.unit_names import (
    COMMON,
    PAUSE_PREFIX,
    SLICES,
    EscapeError,
    boot_target,
    brake_of,
    places_beside,
    slice_of,
    starter_of,
)
from bridge.units.marker import marked
from bridge.units.quoting import argument, arguments, file_url, value, word

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jinja2 import BytecodeCache, Environment

    from bridge.model.vassal import ResolvedVassal


@dataclass(frozen=True, kw_only=True, slots=True)
class Throttle:
    """How long a vassal pauses after a failure, in seconds (``emperor-throttle``, ``emperor-max-throttle``)."""

    step: int = 1
    """Added at each failure after the last."""
    longest: int = 180

    @property
    def memory(self) -> int:
        """Minutes after which an earlier failure is forgotten: more than the longest pause and a slow start."""
        return self.longest // 30 + 2


QUICK_ENDS = 3
"""How often in a row a vassal that runs always may end with status 0 within a second before it pauses, too."""
SETUP_STEPS = 4
"""How many steps the pause grows where systemd could not even begin to run the vassal: only an admin can mend that."""
DEFAULT_THROTTLE = Throttle()


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """How many vassals may be starting, and how many may run (``max-starting``, ``max-running``). 0: any number."""

    starting: int = 0
    running: int = 0

    @property
    def is_set(self) -> bool:
        """Whether there is a limit."""
        return bool(self.starting or self.running)


NO_LIMITS = Limits()


@dataclass(frozen=True, kw_only=True, slots=True, eq=False, repr=False)
class RenderContext:
    """What is the same for all units of one run."""

    templates: Environment
    user_manager: bool = False
    throttle: Throttle = DEFAULT_THROTTLE
    limits: Limits = NO_LIMITS
    pauses: str = "/run/emperor-bridge/pauses"
    """The folder of the pause notes (:mod:`bridge.state.pauses`)."""
    configuration: str = ""
    """The bridge.toml in force. Empty: the usual one."""


def render(resolved: ResolvedVassal, context: RenderContext) -> dict[str, str]:
    """Render one vassal's unit files; the keys are their names.

    Raises:
        EscapeError: a value cannot be expressed in a unit file.
        BridgeError: a template of the admin's is at fault.
    """
    vassal, addresses, tenant = resolved.vassal, resolved.addresses, resolved.spawn.tenant
    mark = partial(
        Mark,
        config=vassal.config.path,
        name=vassal.name,
        monitor=vassal.monitor,
        address="\n".join(map(str, addresses)),
        tenant="" if tenant is None else str(tenant),
        configuration=context.configuration,
    )
    shown = printable(vassal.name)
    vassal_slice, brake = slice_of(vassal.label, tenant), brake_of(vassal.label, tenant)
    texts = {
        vassal.service: _fill(
            context.templates,
            "vassal.service.j2",
            description=f"uWSGI vassal {shown}",
            document=file_url(vassal.config.path),
            execution=resolved.spawn,
            directory=vassal.directory,
            slice=vassal_slice,
            brake=brake,
            on_demand=bool(addresses),
            is_handed_over=resolved.is_handed_over,
            throttle=context.throttle,
            limits=context.limits,
            pause=vassal.pause,
            is_usual_pause=vassal.pause == PAUSE_PREFIX + vassal.service,
        ),
    }
    if addresses:
        texts[vassal.socket] = _fill(
            context.templates,
            "vassal.socket.j2",
            description=f"Socket of uWSGI vassal {shown}",
            addresses=[str(address) for address in addresses],
            # For templates of an admin's.
            address=str(addresses[0]),
            slice=vassal_slice,
            brake=brake,
            access=resolved.access,
            backlog=resolved.backlog,
            options=resolved.options,
            unix=any(isinstance(address, UnixAddress) for address in addresses),
            tcp=any(isinstance(address, InetAddress) for address in addresses),
            is_tenants=tenant is not None,
            starter=starter_of(vassal.socket),
            wildcard=not any(isinstance(one, InetAddress) and not one.ip.is_unspecified for one in addresses),
        )
    return {unit: marked(text, mark(unit)) for unit, text in texts.items()}


def render_common(context: RenderContext) -> dict[str, str]:
    """Render the units that all vassals share.

    Raises:
        BridgeError: a template of the admin's is at fault.
    """
    values = {
        "user_manager": context.user_manager,
        "scope": " --user" if context.user_manager else "",
        "runtime": "$XDG_RUNTIME_DIR" if context.user_manager else "/run",
        "boot_target": boot_target(user_manager=context.user_manager),
        "throttle": context.throttle,
        "prefix": PAUSE_PREFIX,
        "notes": context.pauses,
        "limits": context.limits,
        "places": places_beside(context.pauses),
        "slices": SLICES,
        "quick_ends": QUICK_ENDS,
        "setup_steps": SETUP_STEPS,
        "unit_field": "USER_UNIT" if context.user_manager else "UNIT",
    }
    return {unit: marked(_fill(context.templates, f"{unit}.j2", **values), Mark(unit=unit)) for unit in COMMON}


def make_templates(folders: Sequence[str], cache: BytecodeCache | None = None) -> Environment:
    """Return the templates, each taken from the first folder that has a file of its name."""
    from shlex import quote

    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(folders),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 - these are unit files; the filters below write systemd's quoting
        keep_trailing_newline=True,
        auto_reload=False,
        bytecode_cache=cache,
    )
    environment.filters |= {"value": value, "word": word, "argument": argument, "arguments": arguments, "shell": quote}
    return environment


def _fill(templates: Environment, template: str, /, **values: object) -> str:
    from jinja2 import TemplateSyntaxError

    path = template
    try:
        found = templates.get_template(template)
        path = found.filename or template
        if not isinstance(found.globals, dict):
            # Jinja copies them for each text, and takes much longer to copy a chain of mappings.
            found.globals = dict(found.globals)
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
        from traceback import extract_tb

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
