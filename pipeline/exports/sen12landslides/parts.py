"""Archives for passing on: the files of a sensor in parts of N, as the release is distributed."""

import gzip
import tarfile
from pathlib import Path

LEVEL = 6


def write_parts(folder: Path, sensor: str, size: int) -> list[Path]:
    """Write `folder`/<sensor>_partNN.tar.gz with `size` consecutive files of `folder`/<sensor> each, by name.

    The same files always give the same bytes: no times, owners or file names in the headers.
    """
    files = sorted((folder / sensor).glob("*.nc"), key=lambda file: file.name)
    starts = range(0, len(files), size)
    width = max(2, len(str(len(starts))))
    parts = []
    for number, start in enumerate(starts, start=1):
        path = folder / f"{sensor}_part{number:0{width}d}.tar.gz"
        _write_part(path, files[start : start + size], sensor)
        parts.append(path)
    return parts


def _write_part(path: Path, files: list[Path], sensor: str) -> None:
    with (
        path.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", compresslevel=LEVEL, fileobj=raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for file in files:
            member = tarfile.TarInfo(f"{sensor}/{file.name}")
            member.size, member.mode = file.stat().st_size, 0o644
            with file.open("rb") as content:
                archive.addfile(member, content)
