"""What is asked of the server, as expressions: images on a patch, and where they have data."""

from collections.abc import Mapping, Sequence
from typing import Any

import ee

from pipeline.errors import RecipeError
from pipeline.records import PatchGrid, Resampling
from pipeline.sources.earth_engine.collections import BandReference

VALID = "valid"
"""Band of an acquisition in an answer: bit i is set where its i-th band has data."""

MODES: Mapping[Resampling, str] = {"bilinear": "bilinear", "cubic": "bicubic"}
"""What Earth Engine calls resampling rules; nearest is what it does by itself, and it has no others."""

Bands = Mapping[BandReference, Resampling]
"""Bands of one acquisition in the order they are asked for, and how each comes onto the grid."""


def band_name(index: int) -> str:
    """Return the name of the `index`-th band of an acquisition: names of the collections may clash."""
    return f"b{index}"


def stacked_name(position: int, name: str) -> str:
    """Return the name in the answer of a band of the `position`-th acquisition."""
    return f"d{position}{name}"


def stacked_image(stack: Sequence[Bands]) -> Any:
    """Return several acquisitions as one image, each as `patch_image` makes it: none masks a pixel of another."""
    return ee.Image.cat(
        *(
            patch_image(bands).rename([stacked_name(position, name) for name in answer_names(bands)])
            for position, bands in enumerate(stack)
        )
    )


def answer_names(bands: Bands) -> list[str]:
    """Return the names of the bands of `patch_image`, in their order."""
    return [*map(band_name, range(len(bands))), VALID]


def patch_image(bands: Bands) -> Any:
    """Return bands of one acquisition, each in its own dtype with 0 for no data, and the band `VALID`.

    Of several images the first that has data at a pixel gives all of its bands there: where the scene classification
    is among the bands, its class 0 is no data; otherwise an image has data where any of its bands has.
    """
    counts = {len(reference.assets) for reference in bands}
    if len(counts) != 1:
        raise ValueError(f"bands of {sorted(counts)} images cannot be stacked")
    layers = [_layer(bands, number) for number in range(counts.pop())]
    if len(layers) == 1:
        return layers[0]
    covered = [layer.updateMask(_coverage(layer, bands)) for layer in layers]
    # A mosaic shows the last image on top.
    return ee.ImageCollection(covered[::-1]).mosaic().unmask(0, False)  # noqa: FBT003


def pixel_grid(grid: PatchGrid) -> dict[str, object]:
    """Return the patch's grid as a request spells it: its own zone, its own corner, its own pixels."""
    return {
        "dimensions": {"width": grid.size, "height": grid.size},
        "affineTransform": {
            "scaleX": grid.resolution, "shearX": 0, "translateX": grid.left,
            "shearY": 0, "scaleY": -grid.resolution, "translateY": grid.top,
        },
        "crsCode": f"EPSG:{grid.epsg}",
    }  # fmt: skip


def _layer(bands: Bands, number: int) -> Any:
    images = [_band(reference, rule, number, index) for index, (reference, rule) in enumerate(bands.items())]
    bits = [image.mask().gt(0).multiply(2**index).toUint16() for index, image in enumerate(images)]
    valid = bits[0]
    for bit in bits[1:]:
        valid = valid.add(bit)
    filled = [_cast(image.unmask(0, False), band) for image, band in zip(images, bands, strict=True)]  # noqa: FBT003
    return ee.Image.cat(*filled, valid.toUint16().rename([VALID]))


def _band(reference: BandReference, rule: Resampling, number: int, index: int) -> Any:
    return resampled(ee.Image(reference.assets[number]).select([reference.band], [band_name(index)]), rule)


def resampled(image: Any, rule: Resampling) -> Any:
    """Return an image that comes onto other grids by `rule`; raises RecipeError where Earth Engine has none such."""
    if rule == "nearest":
        return image
    if rule not in MODES:
        raise RecipeError(f"Earth Engine resamples nearest, bilinear or cubic, not {rule}: change resampling")
    return image.resample(MODES[rule])


def _cast(image: Any, reference: BandReference) -> Any:
    return {"uint8": image.toUint8, "uint16": image.toUint16, "float32": image.toFloat}[reference.encoding]()


def _coverage(layer: Any, bands: Bands) -> Any:
    classes = [index for index, reference in enumerate(bands) if reference.is_classification]
    return layer.select([band_name(classes[0]) if classes else VALID]).neq(0)
