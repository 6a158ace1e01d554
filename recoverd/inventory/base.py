"""What all inventory models share: frozen, no unknown keys, immutable mappings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer

K = TypeVar("K")
V = TypeVar("V")

Mode = Literal["act", "ask", "record"]
SslMode = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]
Port = Annotated[int, Field(ge=1, le=65535)]


class Model(BaseModel):
    """A frozen piece of the inventory; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, hide_input_in_errors=True)


class FrozenMap(Mapping[K, V]):
    """A mapping that cannot be changed, can be hashed when its values can, and survives pickling."""

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[K, V] | None = None) -> None:
        self._items: dict[K, V] = dict(items or {})

    def __getitem__(self, key: K) -> V:
        return self._items[key]

    def __iter__(self) -> Iterator[K]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(tuple(self._items.items()))

    def __eq__(self, other: object) -> bool:
        return dict(self) == dict(other) if isinstance(other, Mapping) else NotImplemented

    def __repr__(self) -> str:
        return repr(self._items)

    def __reduce__(self) -> tuple[type[FrozenMap[K, V]], tuple[dict[K, V]]]:
        return (type(self), (self._items,))


def frozen(value: Any) -> Any:
    """The value with its lists as tuples and its mappings immutable, all the way down.

    A part that stands in several places, as YAML aliases make it, is converted once.
    """
    return _frozen(value, {})


def _frozen(value: Any, seen: dict[int, Any]) -> Any:
    if not isinstance(value, (Mapping, list, tuple)):
        return value
    if id(value) not in seen:
        if isinstance(value, Mapping):
            seen[id(value)] = FrozenMap({key: _frozen(item, seen) for key, item in value.items()})
        else:
            seen[id(value)] = tuple(_frozen(item, seen) for item in value)
    return seen[id(value)]


def thawed(value: Any) -> Any:
    """The value as plain dictionaries and lists, for JSON and YAML."""
    if isinstance(value, Mapping):
        return {key: thawed(item) for key, item in value.items()}
    return [thawed(item) for item in value] if isinstance(value, (list, tuple)) else value


def _thawed_models(value: Mapping[Any, Any]) -> dict[Any, Any]:
    return {
        key: item.model_dump(mode="json", exclude_none=True) if isinstance(item, BaseModel) else thawed(item)
        for key, item in value.items()
    }


Frozen = Annotated[Mapping[K, V], AfterValidator(frozen), PlainSerializer(_thawed_models)]
"""A mapping field: `Frozen[str, int]`. Its value cannot be changed."""
