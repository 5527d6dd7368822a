"""What this process has read lately and may need again: a bounded number of bytes, the oldest use goes first."""

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

from numpy.typing import NDArray

MOST_BYTES = 64 << 20
"""The scene classification of a file of 64 patches of 264 px at four times is 18 MB."""

_lock = threading.Lock()
_kept: "OrderedDict[Hashable, NDArray[Any]]" = OrderedDict()


def keep(key: Hashable, values: NDArray[Any]) -> None:
    """Remember `values`, which must not be changed afterwards."""
    with _lock:
        _kept[key] = values
        _kept.move_to_end(key)
        size = sum(array.nbytes for array in _kept.values())
        while size > MOST_BYTES:
            size -= _kept.popitem(last=False)[1].nbytes


def recall(key: Hashable) -> NDArray[Any] | None:
    """Return what was kept under `key`, or None."""
    with _lock:
        if key in _kept:
            _kept.move_to_end(key)
        return _kept.get(key)


def forget() -> None:
    """Forget everything."""
    with _lock:
        _kept.clear()
