"""Candidates as the plan stores them."""

from collections.abc import Sequence

from pipeline.plan.candidates import Candidate
from pipeline.records import AssetRef, Choice, Product, Recipe, Scene, Score

MASK_BAND = "SCL"


def mask_band(product: Product, recipe: Recipe) -> str:
    """Return the band of `product` that says where its scenes are of use; empty where there is none."""
    own = recipe.own_modalities.get(product)
    if own is not None:
        return own.mask.band if own.mask else ""
    return MASK_BAND if product == "S2L2A" else ""


def to_choice(candidate: Candidate, bands: Sequence[str], score: Score | None, *, mask: str = "") -> Choice:
    """Return `candidate` as the plan stores it; `mask` names the band that says where a scene is valid."""
    assets = tuple(_asset(scene, bands, scene.hrefs[mask] if mask else "") for scene in candidate.scenes)
    return _choice(candidate, candidate.scenes[0], assets, score)


class Choices:
    """Makes the choices of one recipe, and once what many patches share: references, and whole choices without score.

    Sharing is by identity, which holds for as long as this object.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self._bands: dict[str, tuple[tuple[str, ...], str]] = {}
        self._assets: dict[tuple[int, int, str], tuple[Scene, Scene | None, AssetRef]] = {}
        self._unscored: dict[tuple[int, int, str], tuple[Candidate, Candidate, Choice]] = {}

    def of(self, candidate: Candidate, modality: str, score: Score | None) -> Choice:
        """Return the choice of a candidate."""
        if score is not None:
            return self._made(candidate, modality, score)
        key = (id(candidate), 0, modality)
        if key not in self._unscored:
            self._unscored[key] = candidate, candidate, self._made(candidate, modality, None)
        return self._unscored[key][2]

    def level1c(self, optical: Candidate, level1c: Candidate, modality: str) -> Choice:
        """Return the Level-1C partner of a Level-2A candidate; Level-2A's classification says where it is valid."""
        key = (id(optical), id(level1c), modality)
        if key not in self._unscored:
            partners: dict[str, Scene] = {}
            for scene in level1c.scenes:
                partners.setdefault(scene.tile, scene)
            assets = tuple(self._asset(partners[scene.tile], modality, masked_by=scene) for scene in optical.scenes)
            made = _choice(level1c, partners[optical.scenes[0].tile], assets, None)
            self._unscored[key] = optical, level1c, made
        return self._unscored[key][2]

    def _made(self, candidate: Candidate, modality: str, score: Score | None) -> Choice:
        return _choice(
            candidate, candidate.scenes[0], tuple(self._asset(scene, modality) for scene in candidate.scenes), score
        )

    def _asset(self, scene: Scene, modality: str, masked_by: Scene | None = None) -> AssetRef:
        key = (id(scene), id(masked_by), modality)
        if key not in self._assets:
            bands, mask = self._bands_of(modality)
            mask_href = masked_by.hrefs[MASK_BAND] if masked_by else scene.hrefs[mask] if mask else ""
            self._assets[key] = scene, masked_by, _asset(scene, bands, mask_href)
        return self._assets[key][2]

    def _bands_of(self, modality: str) -> tuple[tuple[str, ...], str]:
        if modality not in self._bands:
            mask = mask_band(self.recipe.modality(modality).product, self.recipe)
            self._bands[modality] = self.recipe.bands_of(modality), mask
        return self._bands[modality]


def _choice(candidate: Candidate, first: Scene, assets: tuple[AssetRef, ...], score: Score | None) -> Choice:
    return Choice(
        acquisition=candidate.acquisition,
        acquired=first.acquired,
        file_id=first.file_id,
        assets=assets,
        tile=first.tile,
        platform=first.platform,
        orbit_state=first.orbit_state,
        relative_orbit=first.relative_orbit,
        baseline=first.baseline,
        offset_rule=first.offset_rule,
        cloud=score.cloud if score and first.product != "S1" else None,
        bad=score.bad if score else None,
        source=candidate.source,
    )


def _asset(scene: Scene, bands: Sequence[str], mask_href: str) -> AssetRef:
    hrefs = scene.hrefs
    return AssetRef(
        scene_id=scene.id,
        hrefs=tuple([hrefs[band] for band in bands]),
        mask_href=mask_href,
        offset=scene.offset,
    )
