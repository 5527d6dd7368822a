"""Ways to break a folder of chunk files, and how the lines that name the fault are read."""

import json
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.chunk_files import (
    change_array,
    content,
    edited,
    name_of,
)

from pipeline.layouts.ssl4eo import write_shard
from pipeline.published import check_folder

FIRST, SECOND = name_of("000001"), name_of("000002")
LIST = "splits/ssl4eos12_train.txt"
TABLE = "splits/train_metadata.parquet"


def lines(root: Path, **options: Any) -> list[str]:
    return [str(finding) for finding in check_folder(root, **options)]


def matches(line: str, pattern: str) -> bool:
    parts = pattern.split("*")
    return line.startswith(parts[0]) and line.endswith(parts[-1]) and all(part in line for part in parts)


Break = Callable[[Path], None]


def at(modality: str = "S2L2A", name: str = FIRST) -> str:
    return f"train/{modality}/{name}"


def array(name: str, change: Callable[[Any], Any], modality: str = "S2L2A", **options: Any) -> Break:
    return lambda root: change_array(root / at(modality), name, change, **options)


def put(index: Any, value: Any) -> Callable[[Any], Any]:
    def change(values: Any) -> Any:
        values[index] = value
        return values

    return change


def drop(entry: str) -> Break:
    def change(root: Path) -> None:
        with edited(root / at()) as entries:
            del entries[entry]

    return change


def truncate(root: Path) -> None:
    path = root / at()
    path.write_bytes(path.read_bytes()[:-100])


def damage(root: Path) -> None:
    path = root / at()
    with zipfile.ZipFile(path) as archive:
        entry = archive.getinfo("bands/0.1.0.0.0")
    content = bytearray(path.read_bytes())
    content[entry.header_offset + 200] ^= 255
    path.write_bytes(content)


def garble(root: Path) -> None:
    with edited(root / at()) as entries:
        entries["bands/0.1.0.0.0"] = b"no blosc"


def repeat(root: Path) -> None:
    with zipfile.ZipFile(root / at(), "a") as archive, warnings.catch_warnings(action="ignore"):
        archive.writestr("bands/0.1.0.0.0", archive.read("bands/0.1.0.0.0"))


def compress(root: Path) -> None:
    with edited(root / at()) as entries:
        kept = dict(entries)
    with zipfile.ZipFile(root / at(), "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in kept.items():
            archive.writestr(name, value)


def nest(root: Path) -> None:
    with edited(root / at()) as entries:
        kept = {f"dataset.zarr/{name}": value for name, value in entries.items()}
        entries.clear()
        entries.update(kept)


def describe_badly(root: Path) -> None:
    with edited(root / at()) as entries:
        entries["crs/.zarray"] = b"{"


def fill(root: Path) -> None:
    with edited(root / at()) as entries:
        for name in ("bands/.zarray", ".zmetadata"):
            document = json.loads(entries[name])
            (document["metadata"]["bands/.zarray"] if "metadata" in document else document)["fill_value"] = 0
            entries[name] = json.dumps(document).encode()


def copy_array(path: Path, name: str, to: str) -> None:
    with edited(path) as entries:
        consolidated = json.loads(entries[".zmetadata"])
        for key in [key for key in entries if key.startswith(f"{name}/")]:
            entries[key.replace(name, to, 1)] = entries[key]
        for key in (".zarray", ".zattrs"):
            consolidated["metadata"][f"{to}/{key}"] = consolidated["metadata"][f"{name}/{key}"]
        entries[".zmetadata"] = json.dumps(consolidated).encode()


def remove_array(path: Path, name: str) -> None:
    with edited(path) as entries:
        consolidated = json.loads(entries[".zmetadata"])
        for key in [key for key in entries if key.startswith(f"{name}/")]:
            del entries[key]
            consolidated["metadata"].pop(key, None)
        entries[".zmetadata"] = json.dumps(consolidated).encode()


def swap_first_two(path: Path) -> None:
    for name in ("bands", "file_id", "time_"):
        change_array(path, name, lambda values: values[:, [1, 0, 2, 3]])


def other_samples(root: Path) -> None:
    write_shard(root / at("S2RGB"), content("S2RGB", ("0080717", "0060573", "0000174")))


def other_order(root: Path) -> None:
    write_shard(root / at("S2RGB"), content("S2RGB", ("0060573", "0080717", "0000173")))


def fewer_samples(root: Path) -> None:
    write_shard(root / at("S2RGB"), content("S2RGB", ("0080717", "0060573")))


def fewer_bands(root: Path) -> None:
    change_array(root / at(), "bands", lambda values: values[:, :, :11])
    change_array(root / at(), "band", lambda values: values[:11])
