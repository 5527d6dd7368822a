"""The same image at another provider: which of its scenes is a copy of ours, and what of it may differ.

A copy is the same acquisition of the same product, cut the same way: of Sentinel-2 the granule of one platform, tile
and datatake; of Sentinel-1 the product, named alike but for the checksum that a second processing changes; of the
Copernicus DEM the tile; of anything else the item with the same id. Providers keep granules in several processing
baselines; the same one is preferred, and a copy says which it is.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import timedelta

import shapely

from pipeline.records import Copy, OwnModality, PatchGrid, Scene
from pipeline.sources.contract import Query, Source
from pipeline.sources.window import Placement

SAME_PASS = timedelta(hours=1)
"""A platform is over the same tile again after 98 minutes at the soonest; providers name an image by the beginning of
its datatake or of its granule, which lie closer together."""

OPTICAL = ("S2L2A", "S2L1C")
"""Products that are processed anew in baselines."""
_DEM_TILE = re.compile(r"(?:COG_)?(?P<step>\d\d)_(?P<north>[NS]\d\d)_\d\d_(?P<east>[EW]\d{3})_\d\d")
UNDATED = ("DEM",)
"""Products of one epoch, whatever date a provider gives them."""
_UNSUMMED = 62
"""Characters of a Sentinel-1 product id before its checksum."""


def find_copies(
    scenes: Sequence[Scene], bands: Sequence[str], source: Source, *, own: OwnModality | None = None
) -> list[Copy]:
    """Ask a mirror for scenes of one acquisition, and return what it has of each.

    Parameters
    ----------
    scenes
        Of one product, as the dataset's own source has them.
    bands
        What a copy must have.
    source
        The mirror.
    own
        What the product is where a recipe describes it.

    Raises
    ------
    TransientSourceError
        The mirror is unreachable or throttles.
    SourceError
        It does not have the collection.
    """
    product = scenes[0].product
    outline = shapely.union_all(shapely.from_wkb([scene.footprint for scene in scenes]))
    first, last = min(scene.acquired for scene in scenes), max(scene.acquired for scene in scenes)
    is_dated = product not in UNDATED and not (own is not None and own.is_undated)
    query = Query(
        product=product,
        footprint=outline,
        start=first - SAME_PASS if is_dated else None,
        end=last + SAME_PASS if is_dated else None,
        own=own,
    )
    offered = source.search(query)
    return [_copy(scene, offered, bands, source.name) for scene in scenes]


def absent_copies(scenes: Iterable[Scene], source: str, problem: str) -> list[Copy]:
    """Return that a mirror has none of `scenes`, and why."""
    return [
        Copy(source=source, product=scene.product, scene_id=scene.id, scene=None, problem=problem) for scene in scenes
    ]


def is_same_processing(copy: Copy, scene: Scene) -> bool:
    """Tell whether a copy holds the same values as the scene, apart from the offset that either states."""
    if copy.scene is None or copy.scene.baseline != scene.baseline:
        return False
    return bool(scene.baseline) or scene.product not in OPTICAL


def grid_problem(placed: tuple[int, Placement], epsg: int, resolution: float, patch: PatchGrid) -> str:
    """Return why a Sentinel-2 file is no copy of the granule's own pixels; empty where it is one.

    Parameters
    ----------
    placed
        EPSG code and place of the file.
    epsg
        Zone of the granule.
    resolution
        Pixel size of the band as ESA has it [m]. Coarser files may be copied where they lie on the patch's grid.
    patch
        Where it is to be read.
    """
    (found, lies), size = placed, placed[1].pixel_width
    if found != epsg:
        return f"lies on EPSG:{found}, not on EPSG:{epsg}"
    if size != -lies.pixel_height or size not in (resolution, max(resolution, patch.resolution)):
        return f"has pixels of {size:g} m, not of {resolution:g} m"
    # Corners of ESA's tiles are multiples of every pixel size.
    left, top = (0.0, 0.0) if size == resolution else (patch.left, patch.top)
    if not all(float((edge / size) % 1.0) in (0.0, 1.0) for edge in (lies.left - left, lies.top - top)):
        return "has pixels that lie between those of the granule"
    return ""


def _copy(scene: Scene, offered: Sequence[Scene], bands: Sequence[str], source: str) -> Copy:
    alike = [other for other in offered if is_same_image(scene, other)]
    if not alike:
        return absent_copies([scene], source, "not in its catalogue")[0]
    problems = {other.id: _problem(scene, other, bands) for other in alike}
    fit = [other for other in alike if not problems[other.id]]
    if not fit:
        return absent_copies([scene], source, problems[alike[0].id])[0]
    best = min(fit, key=lambda other: _preference(scene, other))
    return Copy(source=source, product=scene.product, scene_id=scene.id, scene=_told_as(best, scene))


def is_same_image(scene: Scene, other: Scene) -> bool:
    """Tell whether two providers' scenes are one image of one product, whatever its processing."""
    if scene.product != other.product:
        return False
    if scene.product in UNDATED:
        return _dem_key(scene) == _dem_key(other)
    key = _KEYS.get(scene.product, _item_key)
    return key(scene) == key(other) and abs(scene.acquired - other.acquired) < SAME_PASS


def _optical_key(scene: Scene) -> str:
    return f"{scene.platform} {scene.tile}" if scene.tile else scene.id


def _radar_key(scene: Scene) -> str:
    return scene.file_id[:_UNSUMMED]


def _dem_key(scene: Scene) -> str:
    tile = _DEM_TILE.search(scene.id)
    return f"{tile['step']} {tile['north']} {tile['east']}" if tile else scene.id


def _item_key(scene: Scene) -> str:
    return scene.id


_KEYS = {"S2L2A": _optical_key, "S2L1C": _optical_key, "S1": _radar_key}


def _problem(scene: Scene, other: Scene, bands: Sequence[str]) -> str:
    lacking = [band for band in bands if band not in other.hrefs]
    if lacking:
        return f"{other.id} has no {', '.join(lacking)}"
    if scene.epsg is not None and other.epsg is not None and scene.epsg != other.epsg:
        return f"{other.id} lies on EPSG:{other.epsg}, not on EPSG:{scene.epsg}"
    if any(other.hrefs[band] == scene.hrefs.get(band) for band in bands):
        return f"{other.id} names the same files"
    return ""


def _preference(scene: Scene, other: Scene) -> tuple[object, ...]:
    """Order copies: the same granule and processing first, then the newest one."""
    newest = tuple(-ord(letter) for letter in f"{other.baseline} {other.extras.get('generated', '')}")
    return (other.file_id != scene.file_id, other.baseline != scene.baseline, newest, other.id)


def _told_as(copy: Scene, scene: Scene) -> Scene:
    """Return a copy under the names, the time and the outline that the image has in the dataset already."""
    return replace(
        scene,
        id=copy.id,
        collection=copy.collection,
        hrefs=copy.hrefs,
        checksums=copy.checksums,
        epsg=copy.epsg or scene.epsg,
        baseline=copy.baseline,
        offset=copy.offset,
        offset_rule=copy.offset_rule,
        extras=copy.extras,
    )
