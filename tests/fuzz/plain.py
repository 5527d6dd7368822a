"""Mutations of bytes, text and JSON documents."""

import json
import random
from collections.abc import Callable
from typing import Any

DEEP = 20_000
"""How deep a document is nested that no parser should follow."""
_DEEP_MARK = "the place of something deep"

POISON: tuple[Any, ...] = (
    None, True, 0, -1, 1, 0.5, 1e308, -1e-308, float("nan"), float("inf"), 2**31, 2**63, -(2**63) - 1, 10**400, "", " ",
    "x" * 10_000, "\x00", "é\ud7ff", "NaN", "1e999", "0000-00-00T00:00:00Z", "2022-13-45", "99999-01-01T00:00:00Z",
    "../../../../../../etc/passwd", "/etc/passwd", "/dev/zero", "/dev/stdin", "file:///etc/passwd", "file://host/x",
    "/vsizip//etc/passwd", "/vsicurl/http://127.0.0.1:9/x", "vrt:///etc/passwd", "<VRTDataset/>", "http://[::1", "s3://",
    "javascript:alert(1)", "GTIFF_DIR:1:/etc/passwd", [], {}, [[]], {"": {}}, [None], [float("nan")] * 4, _DEEP_MARK,
)  # fmt: skip

Paths = list[tuple[Any, Any]]
"""Containers, and a key or index in each."""


def mutate_bytes(data: bytes, chance: random.Random) -> bytes:
    """Flip, cut, overwrite, repeat or insert."""
    held = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4))):
        _BYTE_CHANGES[chance.randrange(len(_BYTE_CHANGES))](held, chance)
    return bytes(held)


def _place(held: bytearray, chance: random.Random) -> int:
    # Structure is at the ends of most files.
    reach = chance.choice((64, 1024, len(held)))
    at = chance.randrange(max(1, min(reach, len(held))))
    return at if chance.random() < 0.6 else max(0, len(held) - 1 - at)


def _flip(held: bytearray, chance: random.Random) -> None:
    if held:
        held[_place(held, chance)] ^= 1 << chance.randrange(8)


def _cut(held: bytearray, chance: random.Random) -> None:
    del held[_place(held, chance) :]


def _overwrite(held: bytearray, chance: random.Random) -> None:
    at, size = _place(held, chance), chance.choice((1, 2, 4, 8, 512))
    filling = chance.choice((b"\x00", b"\xff", bytes([chance.randrange(256)])))
    held[at : at + size] = filling * size


def _extreme(held: bytearray, chance: random.Random) -> None:
    at, size = _place(held, chance), chance.choice((2, 4, 8))
    number = chance.choice((0, 1, 2 ** (8 * size - 1), 2 ** (8 * size) - 1, len(held)))
    held[at : at + size] = (number % 2 ** (8 * size)).to_bytes(size, chance.choice(("little", "big")))


def _repeat(held: bytearray, chance: random.Random) -> None:
    at = _place(held, chance)
    held[at:at] = held[at : at + chance.choice((4, 64, 4096))]


def _insert(held: bytearray, chance: random.Random) -> None:
    at = _place(held, chance)
    held[at:at] = chance.randbytes(chance.choice((1, 16, 256)))


_BYTE_CHANGES: tuple[Callable[[bytearray, random.Random], None], ...] = (
    _flip, _flip, _cut, _overwrite, _extreme, _extreme, _repeat, _insert,
)  # fmt: skip


def mutate_json(document: Any, chance: random.Random) -> bytes:
    """Return a document with some values of another type, place or size; sometimes with its bytes changed."""
    held = json.loads(json.dumps(document))
    for _ in range(chance.choice((1, 1, 2, 3))):
        paths = _paths(held)
        if paths:
            _change(*chance.choice(paths), chance)
    text = json.dumps(held).replace(f'"{_DEEP_MARK}"', "[" * DEEP + "]" * DEEP)
    return mutate_bytes(text.encode(), chance) if chance.random() < 0.1 else text.encode("utf-8", "surrogatepass")


def _paths(node: Any) -> Paths:
    keys = list(node) if isinstance(node, dict) else list(range(len(node))) if isinstance(node, list) else []
    return [(node, key) for key in keys] + [path for key in keys for path in _paths(node[key])]


def _change(node: Any, key: Any, chance: random.Random) -> None:
    value = node[key]
    kind = chance.randrange(8)
    if kind < 4:
        node[key] = chance.choice(POISON)
    elif kind == 4:
        del node[key]
    elif kind == 5:
        node[key] = chance.choice(([value], {"x": value}, str(value), [value] * 50))
    elif kind == 6 and isinstance(value, int | float):
        # Floats end where integers do not.
        number = value if abs(value) < 10**300 else 1.0
        node[key] = chance.choice((-value, number * 1e9, number + 0.5, str(value)))
    elif isinstance(node, dict):
        other = chance.choice(list(node))
        node[key], node[other] = node[other], node[key]
    else:
        chance.shuffle(node)


def mutate_lines(text: str, poison: tuple[str, ...], chance: random.Random) -> bytes:
    """Replace, drop, repeat, indent or poison lines of a text."""
    lines = text.splitlines()
    for _ in range(chance.choice((1, 1, 2, 3))):
        at = chance.randrange(len(lines)) if lines else 0
        kind = chance.randrange(6)
        if not lines or kind == 0:
            lines.insert(at, chance.choice(poison))
        elif kind == 1:
            del lines[at]
        elif kind == 2:
            lines.insert(at, lines[chance.randrange(len(lines))])
        elif kind == 3:
            lines[at] = " " * chance.choice((1, 2, 7)) + lines[at]
        else:
            head, mark, _ = lines[at].partition(chance.choice((":", ",")))
            lines[at] = head + mark + " " + chance.choice(poison)
    data = "\n".join(lines).encode("utf-8", "surrogatepass")
    return mutate_bytes(data, chance) if chance.random() < 0.15 else data
