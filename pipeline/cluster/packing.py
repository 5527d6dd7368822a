"""Items, functions and results on their way to and from workers: functions by cloudpickle, the rest by plain pickle.

Dask's own pickler asks Python about every object that it meets; of a file's plan there are thousands.
"""

import pickle
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import cloudpickle
from numcodecs import zstd

PROTOCOL = 5
LEVEL = 1


def pack(value: Any) -> bytes:
    """Return `value` as bytes, compressed: a file's plan names the same few folders thousands of times."""
    packed: bytes = zstd.compress(pickle.dumps(value, PROTOCOL), LEVEL)
    return packed


def pack_function(function: Callable[[Any], Any]) -> bytes:
    """Return `function` as bytes, whole where no worker could import it."""
    packed: bytes = cloudpickle.dumps(function, PROTOCOL)
    return packed


def unpack(packed: bytes) -> Any:
    """Return what was packed by this package, in this process or on a worker of the same cluster."""
    return pickle.loads(zstd.decompress(packed))  # noqa: S301


def call_packed(function: bytes, item: bytes) -> bytes:
    """Call a packed function with a packed item, and pack the result; runs on a worker."""
    return pack(_function(function)(unpack(item)))


@lru_cache(maxsize=8)
def _function(packed: bytes) -> Callable[[Any], Any]:
    # One function serves thousands of items.
    function: Callable[[Any], Any] = pickle.loads(packed)  # noqa: S301
    return function
