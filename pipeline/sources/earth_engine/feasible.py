"""What a recipe may ask of Earth Engine: said when it is planned, not when the first pixel is read."""

from typing import get_args

from pipeline.errors import RecipeError
from pipeline.records import Modality, Recipe, Resampling
from pipeline.sources.earth_engine.expressions import MODES
from pipeline.sources.earth_engine.packing import MOST_BANDS


def check_recipe(recipe: Recipe) -> None:
    """Raise RecipeError for resampling that Earth Engine has not, and for more bands than one request holds."""
    for modality in recipe.wanted:
        if modality.product != "LABELS":
            _check_resampling(modality, recipe)
            _check_bands(modality, recipe)


def _check_resampling(modality: Modality, recipe: Recipe) -> None:
    rule = recipe.resampling_of(modality.name)
    there = [known for known in get_args(Resampling) if known == "nearest" or known in MODES]
    if rule not in there:
        is_own = modality.name in recipe.own_modalities
        key = f"own_modalities.{modality.name}.resampling" if is_own else f"resampling.{modality.product}"
        raise RecipeError(f"Earth Engine has no {rule} resampling: set {key} to one of {', '.join(there)}")


def _check_bands(modality: Modality, recipe: Recipe) -> None:
    own = recipe.own_modalities.get(modality.name)
    has_mask = own.mask is not None if own else modality.product in ("S2L2A", "S2L1C") and modality.name != "SCL"
    count = len(recipe.bands_of(modality.name)) + has_mask
    if count > MOST_BANDS:
        raise RecipeError(
            f"{modality.name} has {count} bands with its quality band, of {MOST_BANDS} at most that one request to "
            "Earth Engine holds: make two modalities of it"
        )
