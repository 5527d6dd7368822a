"""The three sensors of Sen12Landslides: what their files are called and hold, and where that is in the store."""

from dataclasses import dataclass

from pipeline.errors import RecipeError


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensor:
    """One folder of patch files."""

    key: str
    """Folder, key of split entries and part of file names."""
    satellite: str
    """Attribute of every file."""
    modality: str
    """Where the store has it."""
    bands: tuple[str, ...]
    """Spectral variables of a file, in order."""
    stored_bands: tuple[str, ...]
    """The same bands as the store names them."""

    def file_name(self, sample_id: str) -> str:
        """Return the file of a patch: the sensor stands before the last token of the id."""
        region, underscore, number = sample_id.rpartition("_")
        return f"{region}_{self.key}_{number}.nc" if underscore else f"{sample_id}_{self.key}.nc"


_S2_BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")


def _radar(key: str, satellite: str, modality: str) -> Sensor:
    return Sensor(key=key, satellite=satellite, modality=modality, bands=("VH", "VV"), stored_bands=("vh", "vv"))


SENSORS: dict[str, Sensor] = {
    "s1asc": _radar("s1asc", "s1-asc", "S1ASC"),
    "s1dsc": _radar("s1dsc", "s1-dsc", "S1DSC"),
    "s2": Sensor(key="s2", satellite="s2", modality="S2L2A", bands=_S2_BANDS, stored_bands=_S2_BANDS),
}
"""Every sensor by its folder, in the order of the release."""


def patch_key(file_name: str) -> str:
    """Return the id that readers derive from a file's name: every `_<sensor>` removed, as published."""
    key = file_name.removesuffix(".nc")
    for sensor in SENSORS:
        key = key.replace(f"_{sensor}", "")
    return key


def inventory_of(sample_id: str) -> str:
    """Return what the release calls a patch's inventory: the first token of its id."""
    return sample_id.split("_", maxsplit=1)[0]


def check_ids(ids: list[str]) -> None:
    """Raise RecipeError when a reader could not tell an id from its file's name, or two patches share an id."""
    seen: set[str] = set()
    for id_ in ids:
        if "/" in id_ or patch_key(SENSORS["s2"].file_name(id_)) != id_:
            raise RecipeError(
                f"patch {id_} cannot be a file name of Sen12Landslides: rename it without / and _<sensor>"
            )
        if id_ in seen:
            raise RecipeError(
                f"patch {id_} is in two of the datasets: build one of them under another region name "
                "(--set places.region=NAME)"
            )
        seen.add(id_)
