"""What a catalogue may refer to, and what is never opened whoever names it."""

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from support.catalogue import write_json

from pipeline.errors import SourceError
from pipeline.records import PatchGrid
from pipeline.sources.links import require_asset, require_document
from pipeline.sources.transport import open_io, read_document
from pipeline.sources.window import open_reference

REMOTE = "https://stac.example.org/v1/item.json"


@pytest.mark.parametrize(
    ("href", "owner"),
    [
        ("https://stac.example.org/other.json", REMOTE),
        ("http://stac.example.org:8080/other.json", REMOTE),
        ("/data/other.json", "/data/catalog.json"),
        ("https://elsewhere.example.org/catalog.json", "/data/catalog.json"),
    ],
)
def test_documents_link_to_their_own_host_and_those_on_disk_anywhere(href: str, owner: str) -> None:
    assert require_document(href, owner) == href


@pytest.mark.parametrize(
    "href",
    [
        "/etc/passwd", "file:///etc/passwd", "https://elsewhere.example.org/x.json", "http://169.254.169.254/latest",
        "https://stac.example.org.evil.net/x.json", "https://stac.example.org@evil.net/x.json", "https://[::1",
    ],
)  # fmt: skip
def test_documents_of_a_server_link_nowhere_else(href: str) -> None:
    with pytest.raises(SourceError, match=r"not followed|no address"):
        require_document(href, REMOTE)


@pytest.mark.parametrize(
    ("href", "owner"),
    [
        ("https://sentinel-cogs.s3.us-west-2.amazonaws.com/B04.tif", REMOTE),
        ("s3://eodata/B04.jp2", REMOTE),
        ("/data/B04.tif", "/data/item.json"),
        ("file:///data/B04.tif", "/data/item.json"),
        ("https://anywhere.example.org/B04.tif", "/data/item.json"),
        ("http://127.0.0.1:9000/B04.tif", "http://127.0.0.1:8080/item.json"),
        ("http://127.0.0.1:9000/B04.tif", "/data/item.json"),
        ("/data/B04.tif", ""),
    ],
)
def test_files_lie_anywhere_public(href: str, owner: str) -> None:
    assert require_asset(href, owner) == href


@pytest.mark.parametrize(
    ("href", "owner"),
    [
        ("/etc/passwd", REMOTE),
        ("file:///etc/passwd", REMOTE),
        ("http://127.0.0.1/x.tif", REMOTE),
        ("http://localhost/x.tif", REMOTE),
        ("http://169.254.169.254/x.tif", REMOTE),
        ("http://10.0.0.1/x.tif", REMOTE),
        ("http://[::1]/x.tif", REMOTE),
        ("GTIFF_DIR:1:/etc/passwd", REMOTE),
        *(
            (href, owner)
            for href in (
                "/vsicurl/http://127.0.0.1/x.tif", "/vsizip//data/x.zip", "vrt:///data/x.tif", "zip+https://host/x.zip!a",
                "<VRTDataset/>", "javascript:x", "http://[::1",
            )
            for owner in (REMOTE, "/data/item.json", "")
        ),
    ],
)  # fmt: skip
def test_files_on_this_machine_in_its_network_and_in_disguise_are_refused(href: str, owner: str) -> None:
    with pytest.raises(SourceError, match=r"not followed|neither a path nor|no address") as caught:
        require_asset(href, owner)
    assert "\n" not in str(caught.value)


def test_a_document_that_is_no_file_or_nested_without_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no file of at most"):
        read_document("/dev/zero", open_io(), subject="it")
    deep = tmp_path / "deep.json"
    deep.write_text("[" * 100_000)
    with pytest.raises(SourceError, match="is not JSON"):
        read_document(str(deep), open_io(), subject="it")


class Plain:
    def sign(self, href: str) -> str:
        return href

    def gdal_env(self) -> dict[str, str]:
        return {}


def test_a_raster_that_names_other_files_is_not_read(tmp_path: Path) -> None:
    grid = PatchGrid(epsg=32633, left=400_000, top=5_000_000, size=8, resolution=10)
    with rasterio.open(
        tmp_path / "real.tif", "w", driver="GTiff", width=8, height=8, count=1, dtype="uint8", crs="EPSG:32633",
        transform=Affine(10.0, 0.0, 400_000.0, 0.0, -10.0, 5_000_000.0),
    ) as raster:  # fmt: skip
        raster.write(np.ones((8, 8), np.uint8), 1)
    virtual = tmp_path / "virtual.tif"
    virtual.write_text(
        '<VRTDataset rasterXSize="8" rasterYSize="8"><SRS>EPSG:32633</SRS><GeoTransform>400000,10,0,5000000,0,-10'
        '</GeoTransform><VRTRasterBand dataType="Byte" band="1"><SimpleSource><SourceFilename>'
        f"{tmp_path / 'real.tif'}</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand>"
        "</VRTDataset>"
    )
    with rasterio.open(virtual) as as_gdal_does:
        assert as_gdal_does.read(1).all()
    with open_reference(Plain()) as reader:
        assert reader.read(str(tmp_path / "real.tif"), grid, resampling="nearest").all()
        with pytest.raises(SourceError, match="cannot be read"):
            reader.read(str(virtual), grid, resampling="nearest")


def test_a_raster_with_a_block_beyond_memory_is_refused(tmp_path: Path) -> None:
    grid = PatchGrid(epsg=32633, left=400_000, top=5_000_000, size=8, resolution=10)
    with rasterio.open(
        tmp_path / "bomb.tif", "w", driver="GTiff", width=8, height=8, count=1, dtype="float64", crs="EPSG:32633",
        transform=Affine(10.0, 0.0, 400_000.0, 0.0, -10.0, 5_000_000.0), tiled=True, blockxsize=16_384,
        blockysize=16_384, compress="deflate", SPARSE_OK=True,
    ):  # fmt: skip
        pass
    with (
        open_reference(Plain()) as reader,
        pytest.raises(SourceError, match="a block of it would take 2147483648 bytes"),
    ):
        reader.read(str(tmp_path / "bomb.tif"), grid, resampling="nearest")


def test_an_item_of_any_shape_is_refused_in_one_line(tmp_path: Path) -> None:
    from pipeline.sources.items import scene_from_item  # noqa: PLC0415

    document = {"id": "x", "properties": {"datetime": "2022-01-01T00:00:00Z"}, "bbox": [0, 0, 1, 1]}
    asset = {"href": "https://host/B04.tif", "type": "image/tiff"}
    for wrong in ({"roles": 7}, {"roles": [[]]}, {"eo:bands": [3]}, {"href": {}, "type": []}):
        item = {**document, "assets": {"B04": {**asset, **wrong}, "X": {**asset, **wrong}}}
        path = write_json(tmp_path / "item.json", item)
        with pytest.raises(SourceError) as caught:
            scene_from_item(json.loads(path.read_text()), "S2L2A", location=str(path))
        assert "\n" not in str(caught.value)
