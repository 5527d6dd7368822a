"""`sen12 plan --simulate`: what building the plan will take, in words."""

import argparse
from collections.abc import Iterator
from dataclasses import replace

from pipeline.catalog import Decided
from pipeline.records import Recipe, Sample
from pipeline.simulate import (
    FileLayouts,
    Load,
    NominalLayouts,
    Setting,
    Shuffled,
    calibrate,
    cost_of_shuffling,
    load_of,
    outlook_of,
)
from pipeline.simulate.files import NOMINAL_TILE
from pipeline.sources import Source
from pipeline.sources.contract import ForecastingSource
from pipeline.stages import forecast_of, shards_of

MANY_REQUESTS = 40
"""Earth Engine's limit of requests at the same time."""


def add_simulation(command: argparse.ArgumentParser) -> None:
    """Add the arguments of the simulation."""
    group = command.add_argument_group("simulation")
    group.add_argument(
        "--simulate", action="store_true", help="predict requests, bytes, hours and money; reads a few files' headers"
    )
    group.add_argument("--latency", type=_positive, default=50.0, metavar="MS", help="until an answer begins [50 ms]")
    group.add_argument(
        "--bandwidth", type=_positive, default=50.0, metavar="MB/S", help="of one worker [50 MB/s of 10**6 bytes]"
    )
    group.add_argument(
        "--unpack-rate", type=_positive, metavar="MB/S", help="tiles that one core unpacks [measured on this machine]"
    )
    group.add_argument(
        "--pack-rate", type=_positive, metavar="MB/S", help="chunks that one core compresses [measured on this machine]"
    )
    group.add_argument("--price-per-request", type=_price, default=0.0, metavar="P", help="in your currency [0]")
    group.add_argument("--price-per-gb", type=_price, default=0.0, metavar="P", help="of 10**9 bytes [0]")


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return value


def _price(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a price")
    return value


def simulated_lines(decided: Decided, recipe: Recipe, source: Source, options: argparse.Namespace) -> Iterator[str]:
    """Yield what the simulation says, a line at a time."""
    setting = _setting(options)
    if isinstance(source, ForecastingSource):
        forecast = forecast_of(decided, recipe, source)
        if forecast is not None:
            asked = Load(requests=forecast.requests, bytes=float(forecast.bytes), pixels=float(forecast.bytes))
            yield from _lines(asked, replace(setting, threads=MANY_REQUESTS), "a patch's dates together")
        return
    files = FileLayouts(source, decided.scenes)
    shards = shards_of(decided, recipe)
    load = load_of(shards, recipe, files)
    unreadable = f", {files.unreadable} of them unreadable" if files.unreadable else ""
    yield from _lines(load, setting, f"tiles as in the headers of {files.asked} files{unreadable}")
    cost = cost_of_shuffling(shards, _samples_in_files(decided), recipe, files, setting)
    yield f"simulated: {_packing_words(recipe.packing, cost)}"


def _setting(options: argparse.Namespace) -> Setting:
    measured = (0.0, 0.0) if options.unpack_rate and options.pack_rate else calibrate()
    return Setting(
        latency=options.latency / 1e3,
        bandwidth=options.bandwidth * 1e6,
        workers=options.workers or 1,
        unpack_rate=options.unpack_rate * 1e6 if options.unpack_rate else measured[0],
        pack_rate=options.pack_rate * 1e6 if options.pack_rate else measured[1],
        price_per_request=options.price_per_request,
        price_per_gigabyte=options.price_per_gb,
    )


def _lines(load: Load, setting: Setting, basis: str) -> Iterator[str]:
    outlook = outlook_of(load, setting)
    yield (
        f"simulated: {load.requests} requests, {load.opens} of them for headers; {load.bytes / 1e6:.1f} MB over the "
        f"network ({basis}); {load.stored / 1e6:.1f} MB to store"
    )
    bound = "network" if outlook.hours == outlook.network_hours else "processor"
    unpacked, packed = setting.unpack_rate / 1e6, setting.pack_rate / 1e6
    yield (
        f"simulated: {outlook.hours:.2f} h on {setting.workers} worker(s) of one core each, bound by the {bound}: "
        f"network {outlook.network_hours:.2f} h at {setting.latency * 1e3:.0f} ms and "
        f"{setting.bandwidth / 1e6:.0f} MB/s a worker, processor {outlook.processor_hours:.2f} h over all workers, at "
        f"{unpacked:.0f} MB/s unpacked and {packed:.0f} MB/s packed"
    )
    if setting.price_per_request or setting.price_per_gigabyte:
        yield (
            f"simulated: {outlook.price:.2f} for requests and transfer, at {setting.price_per_request:g} a request and "
            f"{setting.price_per_gigabyte:g} a GB"
        )
    else:
        yield "simulated: no money: no prices are known here; give --price-per-request and --price-per-gb"


def packing_line(decided: Decided, recipe: Recipe, source: Source, options: argparse.Namespace) -> str:
    """Say what shuffled files cost, from the plan alone."""
    if isinstance(source, ForecastingSource):
        return f"packing={recipe.packing}: it costs nothing, the source is asked patch by patch"
    shards, held = shards_of(decided, recipe), _samples_in_files(decided)
    cost = cost_of_shuffling(shards, held, recipe, NominalLayouts(recipe), _setting(options))
    return f"{_packing_words(recipe.packing, cost)}, if tiles are of {NOMINAL_TILE} px; --simulate asks the files"


def _samples_in_files(decided: Decided) -> list[Sample]:
    return [sample for sample in decided.samples if decided.places[sample.id].shard]


def _packing_words(packing: str, cost: Shuffled) -> str:
    times = (
        f"{cost.requests:.2f} × the requests, {cost.bytes:.2f} × the bytes, {cost.headers:.2f} × the headers and "
        f"{cost.hours:.2f} × the hours"
    )
    if packing == "shuffled":
        return f"packing=shuffled takes {times} of local"
    return f"packing=local; shuffled would take {times}"
