"""Other providers of what the dataset's own source has: opened by name, and asked only where they are needed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pipeline.errors import RecipeError, TransientSourceError
from pipeline.records.recipe import Collections
from pipeline.sources import Source, open_source
from pipeline.sources.earth_engine import NAME as EARTH_ENGINE


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirrors:
    """The mirrors of a dataset, opened as far as they answer; settings only, so that they can be sent to workers."""

    sources: Mapping[str, Source] = field(default_factory=dict)
    """By the name that the dataset has for them."""
    silent: Mapping[str, str] = field(default_factory=dict)
    """What those said that do not answer now."""
    names: tuple[str, ...] = ()
    """All of them, in the order in which they are asked."""

    def get(self, name: str) -> Source:
        """Return one of them; raises TransientSourceError when it does not answer now."""
        if name not in self.sources:
            problem = self.silent.get(name, "the plan reads from it, and mirrors.json does not name it")
            raise TransientSourceError(f"mirror {name} cannot be asked now: {problem}")
        return self.sources[name]

    def each(self, change: Callable[[Source], Any]) -> "Mirrors":
        """Return the mirrors with every one changed that is open; what comes of it need not be searched any more."""
        return replace(self, sources={name: change(source) for name, source in self.sources.items()})


NO_MIRRORS = Mirrors()


def connect_mirrors(names: Sequence[str], source: str, collections: Collections) -> Mirrors:
    """Open the mirrors of `source` by name; one that does not answer is complained of when it is needed.

    Raises
    ------
    RecipeError
        There is no such provider or catalogue, or its pixels are not in files.
    """
    sources: dict[str, Source] = {}
    silent: dict[str, str] = {}
    for name in names:
        if EARTH_ENGINE in (name, source):
            raise RecipeError(
                f"--mirror {name}: no mirror can be of help between {EARTH_ENGINE} and another provider, as its pixels "
                "are not in files; name mirrors of catalogues of files only"
            )
        try:
            sources[name] = open_source(name, collections)
        except TransientSourceError as err:
            silent[name] = str(err)
        except RecipeError as err:
            raise RecipeError(f"--mirror {name}: {err}") from err
    return Mirrors(sources=sources, silent=silent, names=tuple(names))
