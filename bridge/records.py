"""Dataclasses that cost little until they are used.

``dataclasses.dataclass`` compiles six methods for each class. A short command imports some eighty such classes and uses
a third of them, and that took a third of its time. Here the constructor is compiled once a few have been made, and
shorter. The classes share the other methods.
"""

from __future__ import annotations

from dataclasses import MISSING, Field, FrozenInstanceError, field, make_dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal, TypeVar, dataclass_transform

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_FIELDS = "__record_fields__"
_MADE = "__records_made__"
_FEW = 3
"""Records of a class that are made without a compiled constructor: of many classes a command makes one or two."""
_NOT_COPIED = frozenset({"__dict__", "__weakref__"})


@dataclass_transform(field_specifiers=(field,))
def dataclass(
    *,
    slots: Literal[True],  # noqa: ARG001 - for readers: there are no others
    frozen: bool = False,
    kw_only: bool = False,
    eq: bool = True,
    repr: bool = True,  # noqa: A002 - as in dataclasses
) -> Callable[[type[T]], type[T]]:
    """Return a decorator that does what ``dataclasses.dataclass`` does with these arguments.

    It knows no ``ClassVar`` and no ``InitVar``.
    """

    def decorate(cls: type[T]) -> type[T]:
        own = {name: _field(vars(cls).get(name, MISSING), kw_only=kw_only) for name in cls.__annotations__}
        inherited = {name: one for base in cls.__mro__[:0:-1] for name, one in vars(base).get(_FIELDS, {}).items()}
        fields = inherited | own
        members: dict[str, Any] = {
            **{name: value for name, value in vars(cls).items() if name not in own and name not in _NOT_COPIED},
            "__slots__": tuple(name for name in own if name not in inherited),
            "__init__": _first_init,
            "__getstate__": _state,
            "__setstate__": _set_state,
            "__dataclass_fields__": _StandardFields(),
            _FIELDS: fields,
            _MADE: 0,
        }
        if frozen:
            members |= {"__setattr__": _refuse, "__delattr__": _refuse}
        if eq:
            members |= _equality(attrgetter(*(name for name, one in fields.items() if one.compare)), frozen=frozen)
        if repr and "__repr__" not in members:
            members["__repr__"] = _repr
        # Only a new class can have slots.
        metaclass: Any = type(cls)
        new: type[T] = metaclass(cls.__name__, cls.__bases__, members)
        new.__qualname__ = cls.__qualname__
        return new

    return decorate


def names(cls: type) -> tuple[str, ...]:
    """Return the names of a class's fields, as ``dataclasses.fields`` has them."""
    return tuple(vars(cls)[_FIELDS])


class _StandardFields:
    """The fields as the functions of ``dataclasses`` look for them: made when one of these does."""

    def __get__(self, _: object, cls: type) -> dict[str, Field[Any]]:
        fields = [(name, object, one) for name, one in vars(cls)[_FIELDS].items()]
        made = make_dataclass(cls.__name__, fields, init=False, repr=False, eq=False)
        found: dict[str, Field[Any]] = vars(made)["__dataclass_fields__"]
        type.__setattr__(cls, "__dataclass_fields__", found)
        return found


def _field(default: Any, *, kw_only: bool) -> Field[Any]:
    one: Field[Any] = default if isinstance(default, Field) else field(default=default)
    one.kw_only = kw_only
    return one


def _first_init(self: Any, *args: Any, **given: Any) -> None:
    """Set the fields of one of the first records of a class; for more, or for an error, compile the constructor."""
    cls: Any = next(one for one in type(self).__mro__ if _FIELDS in vars(one))
    made = vars(cls)[_MADE]
    values = _bound(vars(cls)[_FIELDS], args, given) if made < _FEW else None
    if values is None:
        cls.__init__ = init = _compiled_init(cls)
        init(self, *args, **given)
        return
    setattr(cls, _MADE, made + 1)
    for name, value in values.items():
        object.__setattr__(self, name, value)
    if hasattr(cls, "__post_init__"):
        self.__post_init__()


def _bound(fields: dict[str, Field[Any]], args: tuple[Any, ...], given: dict[str, Any]) -> dict[str, Any] | None:
    """Return the value of each field by the arguments; None if they are not what the constructor takes."""
    positional = [name for name, one in fields.items() if not one.kw_only]
    values = dict(zip(positional, args, strict=False)) | given
    if len(args) > len(positional) or len(values) < len(args) + len(given) or given.keys() - fields.keys():
        return None
    for name, one in fields.items():
        if name not in values:
            if one.default is MISSING and one.default_factory is MISSING:
                return None
            values[name] = one.default if one.default_factory is MISSING else one.default_factory()
    return values


def _compiled_init(cls: Any) -> Callable[..., None]:
    fields: dict[str, Field[Any]] = vars(cls)[_FIELDS]
    known: dict[str, Any] = {"_missing": MISSING}
    parameters, lines = [], []
    for name, one in sorted(fields.items(), key=lambda item: bool(item[1].kw_only)):
        parameter, value = name, name
        if one.default is not MISSING:
            known[f"_default_{name}"] = one.default
            parameter = f"{name}=_default_{name}"
        elif one.default_factory is not MISSING:
            known[f"_make_{name}"] = one.default_factory
            parameter = f"{name}=_missing"
            value = f"_make_{name}() if {name} is _missing else {name}"
        if one.kw_only and "*" not in parameters:
            parameters.append("*")
        parameters.append(parameter)
        if cls.__setattr__ is _refuse:
            # A slot's own method is the quickest way to set what cannot be assigned.
            known[f"_set_{name}"] = getattr(cls, name).__set__
            lines.append(f" _set_{name}(_self, {value})\n")
        else:
            lines.append(f" _self.{name} = {value}\n")
    if hasattr(cls, "__post_init__"):
        lines.append(" _self.__post_init__()\n")
    exec(f"def __init__(_self, {', '.join(parameters)}):\n{''.join(lines)}", known)  # noqa: S102 - our own names
    made: Callable[..., None] = known["__init__"]
    made.__qualname__ = f"{cls.__qualname__}.__init__"
    return made


def _equality(values: Callable[[Any], Any], *, frozen: bool) -> dict[str, Callable[..., Any] | None]:
    def equal(self: Any, other: object) -> bool:
        return values(self) == values(other) if type(other) is type(self) else NotImplemented

    # What can change has no hash.
    return {"__eq__": equal, "__hash__": (lambda self: hash(values(self))) if frozen else None}


def _repr(self: Any) -> str:
    fields = getattr(self, _FIELDS).items()
    shown = ", ".join(f"{name}={getattr(self, name)!r}" for name, one in fields if one.repr)
    return f"{type(self).__qualname__}({shown})"


def _refuse(_: object, name: str, *_value: object) -> None:
    raise FrozenInstanceError(f"{name} cannot be changed")


def _state(self: Any) -> list[object]:
    return [getattr(self, name) for name in getattr(self, _FIELDS)]


def _set_state(self: Any, state: list[object]) -> None:
    for name, value in zip(getattr(self, _FIELDS), state, strict=True):
        object.__setattr__(self, name, value)
