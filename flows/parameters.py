"""Parameters of the flows: what a form shows, what is refused before there is a run, and the request they make."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, model_validator

from pipeline.cluster import ClusterSetting
from pipeline.demo import demo_request
from pipeline.errors import RecipeError
from pipeline.folder import Request
from pipeline.mirror import Mirror
from pipeline.recipes import load_recipe, recipe_names
from pipeline.records import MODALITIES, Recipe
from pipeline.records.recipe import SEASON_PRESETS
from pipeline.stores import SCHEMES, is_store

Schema = dict[str, Any]


def overrides_schema() -> Schema:
    """Return the JSON schema of a recipe's overrides: the recipe's own, nothing required, no defaults.

    A value may be given in its group, {"window": {"before": 90}}, which is what a form shows, or by its dotted name,
    {"window.before": 90}.
    """
    whole = Recipe.model_json_schema()
    groups = cast(Schema, _inlined(whole, whole["$defs"]))["properties"]
    groups["modalities"]["items"] = {"type": "string", "enum": list(MODALITIES)}
    groups["anchor"] = {
        "description": groups["anchor"]["description"],
        "anyOf": [{"type": "number"}, {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}],
    }
    groups["seasons"]["anyOf"].insert(0, {"type": "string", "enum": list(SEASON_PRESETS)})
    return {
        "type": "object",
        "properties": groups,
        # Forms show `properties`; the dotted names beside them would show every value twice.
        "if": {"type": "object"},
        "then": {"properties": dict(_named(groups)), "additionalProperties": False},
    }


def _inlined(node: Any, definitions: Mapping[str, Any]) -> Any:
    """Return a schema without references, defaults and required keys."""
    if isinstance(node, list):
        return [_inlined(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    rest = {key: value for key, value in node.items() if key not in {"$ref", "$defs", "default", "required"}}
    if "$ref" in node:
        rest = {**definitions[node["$ref"].rpartition("/")[2]], **rest}
        return _inlined(rest, definitions)
    return {key: _inlined(value, definitions) for key, value in rest.items()}


def _group(schema: Schema) -> Schema:
    """Return the properties of a schema that is a group of values, which may be null."""
    kinds = (schema, *schema.get("anyOf", ()))
    return next((kind["properties"] for kind in kinds if "properties" in kind), {})


def _named(properties: Schema, prefix: str = "") -> Iterator[tuple[str, Schema]]:
    for name, schema in properties.items():
        yield f"{prefix}{name}", schema
        yield from _named(_group(schema), f"{prefix}{name}.")
        if isinstance(schema.get("additionalProperties"), dict):
            for modality in MODALITIES:
                yield f"{prefix}{name}.{modality}", schema["additionalProperties"]


OVERRIDES_SCHEMA = overrides_schema()


def dotted(overrides: Mapping[str, Any], properties: Schema | None = None, prefix: str = "") -> dict[str, Any]:
    """Return overrides with every value of a group under its dotted name, as recipes take them."""
    known = OVERRIDES_SCHEMA["properties"] if properties is None else properties
    flat: dict[str, Any] = {}
    for name, value in overrides.items():
        group = _group(known.get(name, {}))
        if group and isinstance(value, Mapping):
            flat |= dotted(value, group, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


class ClusterChoice(BaseModel):
    """Where the work runs, spelled out."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["local", "address", "kubernetes", "slurm"] = Field(
        description="This machine, a running Dask scheduler, or a cluster that is made for the run."
    )
    workers: int | None = Field(default=None, ge=0, le=10_000, description="local: worker processes; 0 needs none.")
    address: str | None = Field(
        default=None, pattern=r"^\w+://\S+$", description="address: the scheduler's, tcp://host:8786."
    )
    config: str | None = Field(
        default=None, min_length=1, description="kubernetes, slurm: path of the YAML file with image, queue and so on."
    )

    @model_validator(mode="after")
    def _belongs_together(self) -> Self:
        if (self.address is not None) != (self.kind == "address"):
            raise ValueError("cluster: address belongs to kind address, which needs it")
        if self.workers is not None and self.kind != "local":
            raise ValueError("cluster: workers belongs to kind local; the config file says how many elsewhere")
        if (self.config is not None) != (self.kind in {"kubernetes", "slurm"}):
            raise ValueError("cluster: config belongs to kinds kubernetes and slurm, which need it")
        return self


Text = Annotated[str, Field(min_length=1)]
RecipeName = Annotated[
    str, Field(pattern=rf"^({'|'.join(recipe_names())}|.+\.ya?ml)$", examples=[*recipe_names(), "my_recipe.yaml"])
]
_PLAIN = r"[^:]*(:[^/][^:]*)*"
"""A path: what has :// in it is a URL."""
Out = Annotated[str, Field(min_length=1, pattern=rf"^(({'|'.join(SCHEMES)})://[^?@#]+|{_PLAIN})$")]
SourceName = Annotated[str, Field(pattern=rf"^(\w+://[^/@]*(/.*)?|{_PLAIN})$")]
"""Parameters are kept by the server and shown: neither carries credentials."""
Mirrors = list[SourceName] | None
Verify = Literal["full"] | None
Overrides = Annotated[dict[str, Any] | None, WithJsonSchema(OVERRIDES_SCHEMA)]
Cluster = Annotated[str, Field(pattern=r"^(local(:\d+)?|(kubernetes|slurm):/?[^/].*|\w+://\S+)$")] | ClusterChoice


def cluster_setting(cluster: str | ClusterChoice) -> ClusterSetting:
    """Return the setting that the parameter names; raises RecipeError when it names none."""
    if isinstance(cluster, str):
        return ClusterSetting.parse(cluster)
    if cluster.kind == "local":
        return ClusterSetting(workers=cluster.workers or 0)
    return ClusterSetting.parse(cluster.address or f"{cluster.kind}:{cluster.config}")


def out_place(out: str) -> str:
    """Return where a run writes to: an absolute folder, or the URL of an object store."""
    return out if is_store(out) else str(Path(out.removeprefix("file://")).absolute())


def require_reach(places: str | None, out: str, setting: ClusterSetting) -> None:
    """Refuse a demo whose workers would not see its archive; raises RecipeError."""
    if places is None and is_store(out) and (setting.address or setting.config):
        raise RecipeError(
            "the demo's archive lies on the machine of the run while it builds into an object store, and other workers "
            "do not see it: give places and source, or cluster local"
        )


def make_request(
    recipe: str, overrides: Mapping[str, Any], places: str | None, source: str | None, mirror: Mirror
) -> Request:
    """Return the request that the parameters make; without places and source the demo's, whose archive is written.

    The demo's dataset lies beside its archive; where `mirror` belongs to an object store, the archive goes when the run
    ends, and is the same the next time.

    Raises
    ------
    RecipeError
        The recipe or an override is wrong, or one of places and source is missing.
    """
    changes = dotted(overrides)
    if not places and not source:
        if not mirror.store:
            return demo_request(mirror.folder, recipe, changes)
        return demo_request(mirror.folder.with_name(f"{mirror.folder.name}.demo"), recipe, changes, mirror.folder)
    if not places or not source:
        given, missing = ("places", "source") if places else ("source", "places")
        raise RecipeError(f"{given} is given, {missing} is not: give both, or neither of them for the demo")
    return Request(recipe=load_recipe(recipe, changes), places=places, source=source, out=mirror.folder)
