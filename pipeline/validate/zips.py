"""Checks on a shard as a zip: whole, stored, sorted, undated, and every chunk there and encoded as the layout says."""

import json
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

from pipeline.errors import LayoutError
from pipeline.layouts.containers import require_expansion
from pipeline.layouts.encoding import CODECS, Store
from pipeline.layouts.stored_zip import ZIP_EPOCH
from pipeline.records import Shard
from pipeline.validate.findings import Finding
from pipeline.validate.listing import COORDINATES, DIMS, GROUP_ENTRIES, PER_PATCH


def check_zip(path: Path, shard: Shard, store: Store) -> list[Finding]:
    """Return what is wrong with the file before any array is opened."""
    try:
        with zipfile.ZipFile(path) as archive:
            require_expansion(path, archive.infolist())
            return [Finding(shard.path, fault) for fault in _faults(archive, shard, store)]
    except (zipfile.BadZipFile, OSError, EOFError) as err:
        return [Finding(shard.path, f"is not a whole zip: {err}")]
    except LayoutError as err:
        return [Finding(shard.path, str(err).removeprefix(f"{path} "))]


def _faults(archive: zipfile.ZipFile, shard: Shard, store: Store) -> Iterator[str]:
    infos = archive.infolist()
    damaged = archive.testzip()
    if damaged is not None:
        yield f"entry {damaged} is damaged: its CRC differs"
        return
    yield from _form_faults(infos)
    yield from _entry_faults([info.filename for info in infos], shard, store)
    yield from _encoding_faults(archive, shard, store)


def _form_faults(infos: Sequence[zipfile.ZipInfo]) -> Iterator[str]:
    names = [info.filename for info in infos]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        yield f"holds {len(twice)} entries twice (first: {twice[0]})"
    elif names != sorted(names):
        yield "has zip entries that are not in the order of their names"
    if any(info.compress_type != zipfile.ZIP_STORED for info in infos):
        yield "has compressed zip entries; the layout stores them"
    dated = [info.filename for info in infos if info.date_time != ZIP_EPOCH]
    if dated:
        yield f"has {len(dated)} zip entries that are not dated 1980-01-01 (first: {dated[0]})"


def _entry_faults(names: Sequence[str], shard: Shard, store: Store) -> Iterator[str]:
    held = set(names)
    if ".zmetadata" not in held:
        yield "has no consolidated metadata (.zmetadata)"
    arrays = [name.removesuffix("/.zarray") for name in names if name.endswith("/.zarray")]
    expected = {name for array in arrays for name in _array_entries(array, held, shard, store)}
    absent = sorted(expected - held)
    if absent:
        yield f"lacks {len(absent)} chunks (first: {absent[0]})"
    strangers = sorted(held - expected - set(GROUP_ENTRIES))
    if strangers:
        yield f"holds {len(strangers)} entries that belong to no array (first: {strangers[0]})"


def _array_entries(array: str, held: set[str], shard: Shard, store: Store) -> set[str]:
    about = {f"{array}/.zarray", f"{array}/.zattrs"}
    if array in PER_PATCH:
        inner = ".0" * (len(DIMS[array]) - 2)
        frames = product(range(1 if store == "published" else len(shard.samples)), range(shard.timesteps))
        return about | {f"{array}/{sample}.{step}{inner}" for sample, step in frames}
    if array in DIMS or array in COORDINATES:
        return about | {f"{array}/{'.'.join('0' * len(DIMS.get(array, array[:1])))}"}
    return {name for name in held if name.startswith(f"{array}/")}


def _encoding_faults(archive: zipfile.ZipFile, shard: Shard, store: Store) -> Iterator[str]:
    wanted = CODECS[store].get_config()
    samples = len(shard.samples) if store == "published" else 1
    for array in PER_PATCH:
        if f"{array}/.zarray" not in archive.namelist():
            continue
        try:
            described = json.loads(archive.read(f"{array}/.zarray"))
            chunks, shape, codec = described["chunks"], described["shape"], described["compressor"]
        except (ValueError, KeyError, TypeError, RecursionError):
            yield f"{array}/.zarray is damaged"
            continue
        if chunks != [samples, 1, *shape[2:]]:
            yield f"{array} has chunks {chunks}, expected {samples} of the samples and one timestep"
        if codec != wanted:
            yield f"{array} is compressed by {codec}, expected {wanted}"
