"""Schemas of the operator's custom resources, as its own chart ships them, closed against unknown fields."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft7Validator

CRDS = "operator/deployment/helm/dask-kubernetes-operator/crds"


@cache
def _validators() -> dict[str, Draft7Validator]:
    spec = find_spec("dask_kubernetes")
    assert spec is not None
    assert spec.origin is not None
    found = {}
    for file in sorted((Path(spec.origin).parent / CRDS).glob("*.yaml")):
        definition = yaml.load(file.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))["spec"]  # noqa: S506
        schema = definition["versions"][0]["schema"]["openAPIV3Schema"]
        schema["properties"] |= {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {}}
        found[definition["names"]["kind"]] = Draft7Validator(_closed(schema))
    return found


def dask_problems(manifest: dict[str, Any]) -> list[str]:
    """Say where a manifest of the operator's kinds is not what its schema takes."""
    errors = _validators()[manifest["kind"]].iter_errors(manifest)
    return sorted(f"{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in errors)


def _closed(schema: Any) -> Any:
    """Refuse fields that the API server would silently drop."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(value) for key, value in schema.items()}
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    is_open = "additionalProperties" in schema or schema.get("x-kubernetes-preserve-unknown-fields")
    if isinstance(schema.get("properties"), dict) and not is_open:
        closed["additionalProperties"] = False
    return closed
