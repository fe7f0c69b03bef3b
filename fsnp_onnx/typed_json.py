"""JSON values as dataclasses, with the type of every field checked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import Any, Final, TypeVar

T = TypeVar("T")

_SCALARS: Final = {
    "int": (int,),
    "float": (int, float),
    "str": (str,),
    "bool": (bool,),
    "dict[str, Any]": (dict,),
}


def as_type(document: dict[str, Any], kind: type[T], parts: Iterable[type]) -> T:
    """Return a JSON object as a dataclass whose fields may be, or list, the dataclasses of ``parts``.

    Raises:
        TypeError: A value has another type than its field, or a field is missing or unknown.
    """
    tables = {table.__name__: table for table in (*parts, kind)}
    value: T = _value("the document", document, kind.__name__, tables)
    return value


def _value(name: str, value: object, annotation: str, tables: dict[str, Any]) -> Any:
    kind = annotation.removesuffix(" | None")
    if annotation != kind and value is None:
        return None
    if kind.startswith("tuple[") and isinstance(value, list):
        item = kind[6:].removesuffix(", ...]")
        return tuple(_value(name, table, item, tables) for table in value)
    if kind in tables and isinstance(value, dict):
        types = {f.name: str(f.type) for f in fields(tables[kind])}
        return tables[kind](**{k: _value(k, v, types[k], tables) for k, v in value.items()})
    if type(value) not in _SCALARS.get(kind, ()):
        raise TypeError(f"{name} is {value!r}, expected {annotation}")
    return value
