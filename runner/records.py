"""What the runner uses of `dataclasses`, at a tenth of its cost: in the built runner it stands in the place of that.

The standard library's writes each method as source and compiles it, and imports `inspect` and all that it needs first:
a third of the time from a start to a script. This one makes the same methods as closures. `__main__` puts it in before
anything asks for `dataclasses`; the hub, which imports the contract, has the real one.
"""

from __future__ import annotations

from operator import attrgetter
from types import MemberDescriptorType
from typing import Any, Callable, Dict, Tuple

MISSING = object()


class FrozenInstanceError(AttributeError):
    """A field of a frozen class was to be changed."""


class Field:
    """A field, with what it holds where nothing is given."""

    __slots__ = ("compare", "default", "default_factory", "name", "repr")

    def __init__(self, default: Any, default_factory: Any, *, repr: bool = True, compare: bool = True) -> None:  # noqa: A002  the real one's word
        self.name = ""
        self.repr = repr
        self.compare = compare
        self.default = default
        self.default_factory = default_factory


def field(
    *,
    default: Any = MISSING,
    default_factory: Any = MISSING,
    repr: bool = True,  # noqa: A002  the real one's word
    compare: bool = True,
) -> Any:
    return Field(default, default_factory, repr=repr, compare=compare)


def dataclass(cls: Any = None, /, *, frozen: bool = False, eq: bool = True) -> Any:
    """The class with its methods; as a decorator, with options or bare."""

    def make(made: Any) -> Any:
        return _made(made, frozen=frozen, eq=eq)

    return make if cls is None else make(cls)


def fields(of: Any) -> Tuple[Field, ...]:
    return tuple(of.__dataclass_fields__.values())


def replace(of: Any, /, **changes: Any) -> Any:
    """The same with other values in some fields."""
    return type(of)(**{**{name: getattr(of, name) for name in of.__dataclass_fields__}, **changes})


def asdict(of: Any) -> Dict[str, Any]:
    """Its fields by name, with what they hold taken apart as well."""
    return {name: _apart(getattr(of, name)) for name in of.__dataclass_fields__}


def _apart(value: Any) -> Any:
    if hasattr(type(value), "__dataclass_fields__"):
        return asdict(value)
    if isinstance(value, dict):
        return {name: _apart(one) for name, one in value.items()}
    return type(value)(map(_apart, value)) if isinstance(value, (list, tuple)) else value


def _made(cls: Any, *, frozen: bool, eq: bool) -> Any:
    found = _fields_of(cls)
    cls.__dataclass_fields__ = found
    cls.__init__ = _init(cls, found)
    if frozen:
        cls.__setattr__ = _frozen
        cls.__delattr__ = _frozen
    if "__repr__" not in cls.__dict__:
        cls.__repr__ = _repr
    if eq and "__eq__" not in cls.__dict__:
        values = _values(tuple(name for name, one in found.items() if one.compare))
        cls.__eq__ = lambda mine, other: (
            values(mine) == values(other) if other.__class__ is mine.__class__ else NotImplemented
        )
        cls.__hash__ = (lambda mine: hash(values(mine))) if frozen else None
    return cls


def _fields_of(cls: Any) -> Dict[str, Field]:
    """Those of its bases first; a default stays where the class keeps it."""
    found: Dict[str, Field] = {}
    for base in reversed(cls.__mro__[1:]):
        found.update(getattr(base, "__dataclass_fields__", {}))
    for name in _annotated(cls):
        default = cls.__dict__.get(name, MISSING)
        if isinstance(default, MemberDescriptorType):
            # Of `__slots__`: a place, not a value.
            default = MISSING
        one = default if isinstance(default, Field) else Field(default, MISSING)
        one.name = name
        found[name] = one
        if isinstance(default, Field):
            if one.default is MISSING:
                delattr(cls, name)
            else:
                setattr(cls, name, one.default)
    return found


def _annotated(cls: Any) -> Any:
    """Names in their order; they count, not their types. From Python 3.14 on a class may make them when asked."""
    annotations = cls.__dict__.get("__annotations__")  # noqa: RUF063  typing_extensions is no standard library
    return cls.__annotations__ if annotations is None and hasattr(cls, "__annotate__") else annotations or {}


def _init(cls: Any, found: Dict[str, Field]) -> Callable[..., None]:
    names = tuple(found)
    put = object.__setattr__
    after = hasattr(cls, "__post_init__")

    def init(self: Any, *values: Any, **named: Any) -> None:
        if len(values) > len(names):
            raise TypeError(f"{cls.__name__} takes {len(names)} values, not {len(values)}")
        for name, value in zip(names, values):
            put(self, name, value)
        for name in names[len(values) :]:
            put(self, name, named.pop(name) if name in named else _default(cls, found[name]))
        if named:
            raise TypeError(f"{cls.__name__} has no such field, or has it already: {', '.join(named)}")
        if after:
            self.__post_init__()

    return init


def _default(cls: Any, of: Field) -> Any:
    if of.default is not MISSING:
        return of.default
    if of.default_factory is MISSING:
        raise TypeError(f"{cls.__name__} needs a value for {of.name}")
    return of.default_factory()


def _frozen(self: Any, name: str, *_: Any) -> None:
    raise FrozenInstanceError(f"{type(self).__name__}.{name} cannot be changed")


def _repr(self: Any) -> str:
    shown = ", ".join(f"{name}={getattr(self, name)!r}" for name, one in self.__dataclass_fields__.items() if one.repr)
    return f"{type(self).__qualname__}({shown})"


def _values(names: Tuple[str, ...]) -> Callable[[Any], Tuple[Any, ...]]:
    if len(names) > 1:
        return attrgetter(*names)
    return lambda of: tuple(getattr(of, name) for name in names)
