"""Time and money of a load, on machines that are described or measured."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from isal import isal_zlib

from pipeline.layouts.encoding import CODECS
from pipeline.simulate.load import Load
from pipeline.sources.connections import CONNECTIONS


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What no plan knows."""

    latency: float
    """Until an answer begins [s]."""
    bandwidth: float
    """Of one worker [bytes/s]."""
    workers: int
    unpack_rate: float
    """Tiles, of one core [bytes/s of pixels]."""
    pack_rate: float
    """Chunks, of one core [bytes/s of pixels]."""
    threads: int = 8
    """Scenes that a worker reads at the same time."""
    price_per_request: float = 0.0
    price_per_gigabyte: float = 0.0
    """In the user's own currency; 0 where nothing is charged."""


class Outlook(NamedTuple):
    """Time and money of a load under a setting."""

    hours: float
    network_hours: float
    """Waiting and transfer, were the processor infinitely fast."""
    processor_hours: float
    """Of all cores together."""
    price: float


def outlook_of(load: Load, setting: Setting) -> Outlook:
    """Return how long the load takes and what it costs: a worker reads and computes at the same time, on one core."""
    waiting = max(load.rounds / setting.threads, load.requests / CONNECTIONS) * setting.latency
    network = (waiting + load.bytes / setting.bandwidth) / setting.workers
    processor = load.unpacked / setting.unpack_rate + load.pixels / setting.pack_rate
    price = load.requests * setting.price_per_request + load.bytes / 1e9 * setting.price_per_gigabyte
    return Outlook(
        hours=max(network, processor / setting.workers) / 3600,
        network_hours=network / 3600,
        processor_hours=processor / 3600,
        price=price,
    )


def calibrate() -> tuple[float, float]:
    """Return how fast one core of this machine unpacks tiles and packs chunks [bytes of pixels per second].

    Of pixels with the texture of an image: a random walk along rows and columns, with the noise of a sensor.
    """
    rng = np.random.default_rng(0)
    walk = rng.integers(-9, 10, (512, 512)).cumsum(axis=0) // 8 + rng.integers(-9, 10, (512, 512)).cumsum(axis=1)
    pixels = (2000 + walk + rng.integers(-20, 21, walk.shape)).astype(np.uint16)
    differences = np.diff(pixels, axis=1, prepend=np.uint16(0))
    packed = isal_zlib.compress(differences.tobytes())
    chunk = pixels[:256, :256].astype(np.int16)
    return (
        pixels.nbytes / _seconds(lambda: isal_zlib.decompress(packed)),
        chunk.nbytes / _seconds(lambda: CODECS["chunked"].encode(chunk)),
    )


def _seconds(call: Callable[[], object]) -> float:
    """Return the shortest of several times, which is the least disturbed."""
    taken = []
    for _ in range(15):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return min(taken)
