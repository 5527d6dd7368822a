"""Records to Arrow columns and back, a column at a time: what makes tables of millions of rows cheap."""

import dataclasses
import types
import typing
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import accumulate, chain, pairwise, repeat
from operator import attrgetter
from typing import Any, Literal, Union, get_args, get_origin

import pyarrow as pa

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_SIMPLE: dict[Any, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    bytes: pa.binary(),
    datetime: pa.timestamp("us", tz="UTC"),
}
_NUMBERS = frozenset({int, float, bool})
_LOOKED_AT = 2048
"""Values that tell whether a column holds the same text many times."""


class UnexpectedColumn(Exception):  # noqa: N818
    """A column holds something else than its record says; `codec` then looks at it row by row and says what."""


@cache
def arrow_type(annotation: Any) -> pa.DataType:
    """Return the Arrow type of a field: nested records become structs, tuples lists, mappings maps."""
    if annotation in _SIMPLE:
        return _SIMPLE[annotation]
    kind, inner = _kind(annotation)
    if kind == "optional":
        return arrow_type(inner[0])
    if kind == "tuple":
        return pa.list_(arrow_type(inner[0]))
    if kind == "literal":
        return pa.string()
    if kind == "mapping":
        return pa.map_(arrow_type(inner[0]), arrow_type(inner[1]))
    return pa.struct([(name, arrow_type(hint)) for name, hint in fields_of(annotation).items()])


def fields_of(record: Any) -> dict[str, Any]:
    """Return the fields of a dataclass and their annotations, in order."""
    return _fields_of(record)


@cache
def _fields_of(record: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(record)
    return {field.name: hints[field.name] for field in dataclasses.fields(record)}


@cache
def _kind(annotation: Any) -> tuple[str, tuple[Any, ...]]:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in {Union, types.UnionType}:
        return "optional", tuple(argument for argument in arguments if argument is not type(None))
    if origin is tuple:
        return "tuple", arguments
    if origin is Literal:
        return "literal", arguments
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "mapping", arguments
    if dataclasses.is_dataclass(annotation):
        return "record", ()
    raise TypeError(f"no Arrow type for {annotation}")


def encode(values: Sequence[Any], annotation: Any) -> pa.Array:
    """Return values of one field as an Arrow array; None becomes null."""
    if annotation in _SIMPLE:
        return pa.array(values, _SIMPLE[annotation])
    kind, inner = _kind(annotation)
    if kind == "optional":
        return encode(values, inner[0])
    if kind == "tuple":
        offsets = _offsets(values)
        flat = encode(list(chain.from_iterable(value or () for value in values)), inner[0])
        return pa.ListArray.from_arrays(offsets, flat, mask=_nulls(values))
    if kind == "mapping":
        offsets = _offsets(values)
        keys = encode(list(chain.from_iterable(value or () for value in values)), inner[0])
        items = encode(list(chain.from_iterable(value.values() for value in values if value)), inner[1])
        return pa.MapArray.from_arrays(offsets, keys, items)
    if kind == "literal":
        return pa.array(values, pa.string())
    return _encode_records(values, annotation)


def _encode_records(values: Sequence[Any], record: type[Any]) -> pa.Array:
    mask = _nulls(values)
    columns = []
    for name, hint in fields_of(record).items():
        read = attrgetter(name)
        held = list(map(read, values)) if mask is None else [None if v is None else read(v) for v in values]
        columns.append(encode(held, hint))
    fields = [pa.field(name, arrow_type(hint)) for name, hint in fields_of(record).items()]
    return pa.StructArray.from_arrays(columns, fields=fields, mask=mask)


def _offsets(values: Sequence[Any]) -> pa.Array:
    return pa.array([0, *accumulate(len(value) if value else 0 for value in values)], pa.int32())


def _nulls(values: Sequence[Any]) -> pa.Array | None:
    if not any(value is None for value in values):
        return None
    return pa.array([value is None for value in values], pa.bool_())


def decode(array: pa.Array, annotation: Any) -> list[Any]:
    """Return the values of one field.

    Raises
    ------
    UnexpectedColumn
        The array is of another type, or holds a null where the field takes none.
    """
    kind, inner = ("simple", ()) if annotation in _SIMPLE else _kind(annotation)
    if kind == "optional":
        if not array.null_count:
            return decode(array, inner[0])
        there = array.is_valid()
        found = iter(decode(array.filter(there), inner[0]))
        return [next(found) if valid else None for valid in there.to_pylist()]
    if array.null_count:
        raise UnexpectedColumn
    if kind == "record":
        return decode_records(_children(array, annotation), annotation)
    if kind == "tuple":
        _require(pa.types.is_list(array.type))
        return [tuple(part) for part in _parts(array, decode(array.flatten(), inner[0]))]
    if kind == "mapping":
        _require(pa.types.is_map(array.type))
        start, end = array.offsets[0].as_py(), array.offsets[-1].as_py()
        keys, items = decode(array.keys[start:end], inner[0]), decode(array.items[start:end], inner[1])
        return [dict(part) for part in _parts(array, list(zip(keys, items, strict=True)))]
    _require(array.type == arrow_type(annotation))
    values = _simple(array, annotation)
    _require(kind != "literal" or set(values) <= set(inner))
    return values


def decode_records(columns: Mapping[str, pa.Array], record: type[Any]) -> list[Any]:
    """Return records from the arrays of their fields; raises UnexpectedColumn as `decode` does."""
    values = {name: decode(columns[name], hint) for name, hint in fields_of(record).items()}
    count = len(next(iter(values.values())))
    # A record's own __init__ would set the same fields one by one, at three times the price.
    records = list(map(object.__new__, repeat(record, count)))
    for name, held in values.items():
        _exhaust(map(object.__setattr__, records, repeat(name), held))
    return records


def _exhaust(steps: Iterable[None]) -> None:
    deque(steps, maxlen=0)


def _children(array: pa.Array, record: type[Any]) -> dict[str, pa.Array]:
    _require(pa.types.is_struct(array.type))
    held = {array.type.field(index).name for index in range(array.type.num_fields)}
    _require(held.issuperset(fields_of(record)))
    return dict(zip((array.type.field(i).name for i in range(array.type.num_fields)), array.flatten(), strict=True))


def _parts(array: pa.Array, flat: list[Any]) -> Iterator[list[Any]]:
    offsets = array.offsets.to_numpy()
    first = int(offsets[0])
    edges = (offsets - first).tolist()
    return (flat[start:end] for start, end in pairwise(edges))


def _simple(array: pa.Array, annotation: Any) -> list[Any]:
    if annotation in _NUMBERS:
        numbers: list[Any] = array.to_numpy(zero_copy_only=False).tolist()
        return numbers
    if annotation is not datetime and not _is_repeated(array):
        values: list[Any] = array.to_pylist()
        return values
    distinct = array.dictionary_encode()
    kinds = distinct.dictionary
    if annotation is datetime:
        known = [EPOCH + timedelta(microseconds=moment) for moment in kinds.cast(pa.int64()).to_pylist()]
    else:
        known = kinds.to_pylist()
    return [known[index] for index in distinct.indices.to_numpy().tolist()]


def _is_repeated(array: pa.Array) -> bool:
    """Tell whether values come several times, from some of them: then it pays to make each once."""
    some = array[:_LOOKED_AT]
    return 2 * len(some.unique()) <= len(some)


def _require(is_as_expected: bool) -> None:  # noqa: FBT001
    if not is_as_expected:
        raise UnexpectedColumn
