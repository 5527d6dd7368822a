"""Where an image is read from once it proved of no use at its own provider: the same image at a mirror, if one has it.

Which mirror is a matter of what was found, not of when: of the providers that an image was not found broken at, the
first in the order of the user's list. Only where none is left does another image stand in.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from pipeline.plan.candidates import WHOLE, Candidate
from pipeline.records import MENDABLE, Copy, PlanRow, Product, Reason, Scene, Unreadable

OWN = ""
"""What stands for the dataset's own source among mirrors."""
PARTNERS: Mapping[Product, Product] = {"S2L2A": "S2L1C", "S2L1C": "S2L2A"}
"""Levels of one Sentinel-2 image: the classification of one says where the other is valid, so both come from one."""

Faults = Mapping[Product, Mapping[str, Mapping[str, str]]]
"""Of one sample: product, acquisition and provider to the reason code for which it is of no use there."""


@dataclass(frozen=True, kw_only=True)
class Copies:
    """What mirrors have of images that proved of no use."""

    mirrors: tuple[str, ...] = ()
    """In the order in which they are asked."""
    found: tuple[Copy, ...] = ()

    @cached_property
    def _by_scene(self) -> Mapping[tuple[str, str, str], Copy]:
        return {(copy.source, copy.product, copy.scene_id): copy for copy in self.found}

    def knows(self, source: str, scene: Scene) -> bool:
        """Tell whether a mirror was asked for a scene."""
        return (source, scene.product, scene.id) in self._by_scene

    def at(self, source: str, candidate: Candidate) -> Candidate | None:
        """Return the image as a mirror has it, its scenes in their order; None where it lacks one that is needed.

        Where the first scene reaches the whole patch, the others only serve where that one has gaps.
        """
        scenes: dict[str, Scene] = {}
        for number, scene in enumerate(candidate.scenes):
            copy = self._by_scene.get((source, scene.product, scene.id))
            if copy is not None and copy.scene is not None:
                scenes.setdefault(copy.scene.id, copy.scene)
            elif number == 0 or candidate.first_reach < WHOLE:
                return None
        return replace(candidate, scenes=tuple(scenes.values()), source=source)


NO_COPIES = Copies()


def faults_by_sample(unreadable: Iterable[Unreadable]) -> dict[str, Faults]:
    """Return what is of no use to each sample; where modalities of a product disagree on the reason, the first's."""
    found: dict[str, dict[Product, dict[str, dict[str, str]]]] = {}
    for image in sorted(unreadable):
        sources = found.setdefault(image.sample_id, {}).setdefault(image.product, {}).setdefault(image.acquisition, {})
        sources.setdefault(image.source, image.reason)
    return {sample_id: dict(products) for sample_id, products in found.items()}


def providers_left(faults: Mapping[str, str], mirrors: Sequence[str]) -> list[str]:
    """Return which providers an image may be read from, the one to take first.

    One that merely did not answer comes after all others, and one that has no sound file of it not at all. A mirror
    is no help where the image's gaps are its own.
    """
    reason = faults.get(OWN, "")
    if reason and reason not in MENDABLE:
        return []
    sound = [name for name in (OWN, *mirrors) if name not in faults]
    return sound + [name for name in (OWN, *mirrors) if faults.get(name) == Reason.UNREACHABLE]


@dataclass(frozen=True, kw_only=True)
class Mending:
    """What becomes of the images of one sample."""

    faults: Faults
    copies: Copies
    offers: Mapping[Product, Mapping[str, Candidate]] = field(default_factory=dict)
    """What could serve, by product and acquisition."""
    may_replace: bool = True
    """Whether another image may stand in; otherwise one that is of no use stays in the plan, and will be missing."""

    def faults_of(self, product: Product, acquisition: str) -> Mapping[str, str]:
        """Return by provider why an image is of no use there; what one level of an image lacks the other lacks, too."""
        own = self.faults.get(product, {}).get(acquisition, {})
        partner = PARTNERS.get(product)
        return own if partner is None else {**self.faults.get(partner, {}).get(acquisition, {}), **own}

    def mended(self, product: Product, candidate: Candidate) -> Candidate | None:
        """Return the image as it is to be read, or None where it is lost."""
        faults = self.faults_of(product, candidate.acquisition)
        if not faults:
            return candidate
        for source in providers_left(faults, self.copies.mirrors):
            if source == OWN:
                return candidate
            copy = self.copies.at(source, candidate)
            if copy is not None and self._has_partner(source, product, candidate.acquisition):
                return copy
        return None if self.may_replace else candidate

    def lost(self) -> dict[Product, dict[str, str]]:
        """Return the acquisitions that cannot be read anywhere, with the reason code at the dataset's own source."""
        return {
            product: {name: self._reason(product, name) for name in images if self._is_lost(product, name)}
            for product, images in self.faults.items()
        }

    def told(self, row: PlanRow, product: Product) -> PlanRow:
        """Return a row that says for which fault its image is read from a mirror, where it is."""
        if row.choice is None or not row.choice.source or row.first_choice:
            return row
        name = row.choice.acquisition
        return replace(row, first_choice=name, first_fault=self._reason(product, name))

    def _reason(self, product: Product, acquisition: str) -> str:
        faults = self.faults_of(product, acquisition)
        return faults.get(OWN) or next(iter(faults.values()))

    def _is_lost(self, product: Product, acquisition: str) -> bool:
        candidate = self.offers.get(product, {}).get(acquisition)
        return candidate is None or self.mended(product, candidate) is None

    def _has_partner(self, source: str, product: Product, acquisition: str) -> bool:
        partner = self.offers.get(PARTNERS.get(product, product), {}).get(acquisition)
        return product not in PARTNERS or partner is None or self.copies.at(source, partner) is not None


def wanted_copies(mendings: Iterable[Mending]) -> dict[tuple[str, Product, str], dict[str, Scene]]:
    """Return what mirrors must be asked for before images of several samples can be planned again.

    Returns
    -------
    mapping
        Mirror, product and acquisition to the scenes of the dataset's own source, by id. Mirrors are asked in turn: the
        second one when the first is known to lack the image, or to have no sound one.
    """
    wanted: dict[tuple[str, Product, str], dict[str, Scene]] = {}
    for mending in mendings:
        for product, images in mending.faults.items():
            for acquisition in images:
                for (source, wanting), scenes in _unknown(mending, product, acquisition).items():
                    held = wanted.setdefault((source, wanting, acquisition), {})
                    held.update({scene.id: scene for scene in scenes})
    return wanted


def _unknown(mending: Mending, product: Product, acquisition: str) -> dict[tuple[str, Product], list[Scene]]:
    """Return the scenes of one image that the next mirror in turn has not been asked for; none where it is settled."""
    products = [product, *([PARTNERS[product]] if product in PARTNERS else [])]
    held = [(one, mending.offers.get(one, {}).get(acquisition)) for one in products]
    candidates = [(one, candidate) for one, candidate in held if candidate is not None]
    copies, faults = mending.copies, mending.faults_of(product, acquisition)
    for source in providers_left(faults, copies.mirrors) if candidates else ():
        if source == OWN:
            return {}
        unknown = {
            (source, one): [scene for scene in candidate.scenes if not copies.knows(source, scene)]
            for one, candidate in candidates
        }
        if any(unknown.values()):
            return {key: scenes for key, scenes in unknown.items() if scenes}
        if all(copies.at(source, candidate) is not None for _, candidate in candidates):
            return {}
    return {}
