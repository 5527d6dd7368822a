"""Recipes: one YAML file in this folder is one dataset that a user can name."""

import difflib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from pipeline.errors import RecipeError
from pipeline.records import Recipe
from pipeline.records.recipe import SEASON_PRESETS

Overrides = Mapping[str, Any] | Sequence[str]


def recipe_names() -> list[str]:
    """Return the names of the recipes that ship with the package, sorted."""
    folder = resources.files(__name__)
    return sorted(file.name.removesuffix(".yaml") for file in folder.iterdir() if file.name.endswith(".yaml"))


def load_recipe(name: str, overrides: Overrides = ()) -> Recipe:
    """Return the recipe called `name`, or the one in the YAML file of that path, with overrides applied.

    Parameters
    ----------
    name : str
        A shipped recipe's name, or a path that ends in .yaml or .yml.
    overrides : mapping or sequence of str
        Dotted keys to values, or strings as `window.before=90` whose right side is YAML.

    Raises
    ------
    RecipeError
        No such recipe, not YAML, an unknown key (with the likely one), or a value out of range.
    """
    tree = _read(name)
    if isinstance(tree.get("seasons"), str):
        tree["seasons"] = dict(SEASON_PRESETS.get(tree["seasons"], {})) or tree["seasons"]
    for key, value in parse_overrides(overrides).items():
        _set(tree, key, value)
    return recipe_from_tree(tree, where=f"recipe {name}")


def parse_overrides(overrides: Overrides) -> dict[str, Any]:
    """Return dotted keys to values; raises RecipeError for a string that is not `key=value`."""
    if isinstance(overrides, Mapping):
        return dict(overrides)
    parsed: dict[str, Any] = {}
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise RecipeError(f"override {text!r} is not key=value, as in window.before=90")
        parsed[key.strip()] = _yaml(value, where=f"override {text!r}")
    return parsed


def recipe_from_tree(tree: Mapping[str, Any], *, where: str) -> Recipe:
    """Validate `tree` (the YAML's content) into a recipe; raises RecipeError with every fault in one line."""
    try:
        return Recipe.model_validate(tree)
    except ValidationError as err:
        faults = "; ".join(_fault(error) for error in err.errors())
        raise RecipeError(f"{where}: {faults}") from err


def recipe_to_yaml(recipe: Recipe) -> str:
    """Return `recipe` as YAML text that `load_recipe` reads back to an equal recipe."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _read(name: str) -> dict[str, Any]:
    path = Path(name)
    if path.suffix in {".yaml", ".yml"}:
        if not path.is_file():
            raise RecipeError(f"recipe file {name} does not exist")
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as err:
            raise RecipeError(f"recipe {name} is not UTF-8 text") from err
    elif name in recipe_names():
        text = (resources.files(__name__) / f"{name}.yaml").read_text(encoding="utf-8")
    else:
        raise RecipeError(f"no recipe {name!r}{_did_you_mean(name, recipe_names())}")
    tree = _yaml(text, where=f"recipe {name}")
    if not isinstance(tree, dict):
        raise RecipeError(f"recipe {name} is not a YAML mapping")
    return tree


_BAD_YAML = (yaml.YAMLError, AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError)
"""What the parser and its constructors of numbers, times and the like end in."""


def _yaml(text: str, *, where: str) -> Any:
    try:
        has_aliases = any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text))
        tree = None if has_aliases else yaml.safe_load(text)
    except RecursionError as err:
        raise RecipeError(f"{where} is nested too deeply") from err
    except _BAD_YAML as err:
        problem = " ".join(str(err).split())
        raise RecipeError(f"{where} is not YAML: {problem}") from err
    if has_aliases:
        # A few lines of aliases of aliases make a tree that no machine can walk.
        raise RecipeError(f"{where} uses YAML aliases (*name): write the values out")
    return tree


def _set(tree: dict[str, Any], dotted: str, value: Any) -> None:
    *parents, last = dotted.split(".")
    node = tree
    for parent in parents:
        child = node.setdefault(parent, {})
        if child is None:
            child = node[parent] = {}
        if not isinstance(child, dict):
            raise RecipeError(f"override {dotted}: {parent} holds a value, not a group of keys")
        node = child
    node[last] = value


def _fault(error: Any) -> str:
    location = [str(part) for part in error["loc"]]
    dotted = ".".join(location)
    if error["type"] == "extra_forbidden":
        known = _keys_at(location[:-1])
        return f"unknown key {dotted}{_did_you_mean(location[-1], known)}"
    if error["type"] == "missing":
        return f"key {dotted} is missing"
    message = error["msg"].removeprefix("Value error, ")
    if not dotted:
        return str(message)
    if error["type"] == "value_error" and isinstance(error["input"], Mapping):
        return f"{dotted}: {message}"
    return f"{dotted}: {message[0].lower()}{message[1:]}, got {_shown(error['input'])}"


def _keys_at(location: Sequence[str]) -> list[str]:
    model: type[BaseModel] = Recipe
    for part in location:
        if part not in model.model_fields:
            # The name of a modality of the recipe's own.
            continue
        annotation = model.model_fields[part].annotation
        models = [one for one in (annotation, *get_args(annotation)) if isinstance(one, type)]
        models = [one for one in models if issubclass(one, BaseModel)]
        if not models:
            return []
        model = models[0]
    return list(model.model_fields)


def _did_you_mean(word: str, known: Sequence[str]) -> str:
    begun = [name for name in known if len(name) > 2 and word.startswith(name)]
    close = sorted(begun, key=len)[-1:] or difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; there are {', '.join(known)}" if known else ""


def _shown(value: object) -> str:
    try:
        return repr(value)
    except ValueError:
        # Python does not print integers of more than 4300 digits.
        return "a number of thousands of digits"
