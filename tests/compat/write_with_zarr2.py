"""Run with zarr 2.18: write shards anew as the published ones were written, by `to_zarr`, and pack them."""

import shutil
import sys
from pathlib import Path

import xarray as xr
import zarr

CHUNKED = ("bands", "cloud_mask")


def main(source: Path, target: Path) -> None:
    assert zarr.__version__.startswith("2.18."), zarr.__version__
    for path in sorted(source.rglob("*.zarr.zip")):
        out = target / path.relative_to(source)
        out.parent.mkdir(parents=True, exist_ok=True)
        with xr.open_zarr(str(path)) as opened:
            dataset = opened.load().drop_encoding()
        chunks = {
            name: {"chunks": (dataset.sizes["sample"], 1, *dataset[name].shape[2:])}
            for name in CHUNKED
            if name in dataset
        }
        store = out.with_name(out.name.removesuffix(".zip"))
        dataset.to_zarr(str(store), encoding=chunks)
        with zarr.ZipStore(str(out), mode="w") as packed:
            zarr.copy_store(zarr.DirectoryStore(str(store)), packed)
        shutil.rmtree(store)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
