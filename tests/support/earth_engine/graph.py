"""Evaluating an expression as the client sends it: a table of nodes that refer to each other."""

from dataclasses import dataclass, field
from typing import Any

from .algorithms import ALGORITHMS, Catalogue, EvaluationError


@dataclass
class Evaluation:
    catalogue: Catalogue
    nodes: dict[str, Any]
    known: dict[str, Any] = field(default_factory=dict)

    def refer(self, key: str, arguments: dict[str, Any]) -> Any:
        if arguments:
            return self.node(self.nodes[key], arguments)
        if key not in self.known:
            self.known[key] = self.node(self.nodes[key], arguments)
        return self.known[key]

    def node(self, node: dict[str, Any], arguments: dict[str, Any]) -> Any:
        ((kind, content),) = node.items()
        return getattr(self, f"_{kind}")(content, arguments)

    def _constantValue(self, content: Any, _: dict[str, Any]) -> Any:  # noqa: N802
        return content

    def _integerValue(self, content: str, _: dict[str, Any]) -> int:  # noqa: N802
        return int(content)

    def _valueReference(self, content: str, arguments: dict[str, Any]) -> Any:  # noqa: N802
        return self.refer(content, arguments)

    def _argumentReference(self, content: str, arguments: dict[str, Any]) -> Any:  # noqa: N802
        return arguments[content]

    def _arrayValue(self, content: dict[str, Any], arguments: dict[str, Any]) -> list[Any]:  # noqa: N802
        return [self.node(value, arguments) for value in content["values"]]

    def _dictionaryValue(self, content: dict[str, Any], arguments: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return {name: self.node(value, arguments) for name, value in content["values"].items()}

    def _functionDefinitionValue(self, content: dict[str, Any], arguments: dict[str, Any]) -> Any:  # noqa: N802
        names = content["argumentNames"]
        return lambda *given: self.refer(content["body"], {**arguments, **dict(zip(names, given, strict=True))})

    def _functionInvocationValue(self, content: dict[str, Any], arguments: dict[str, Any]) -> Any:  # noqa: N802
        name = content["functionName"]
        if name not in ALGORITHMS:
            raise EvaluationError(f"emulator: algorithm {name} is not implemented", 501, "UNIMPLEMENTED")
        given = {key: self.node(value, arguments) for key, value in content.get("arguments", {}).items()}
        return ALGORITHMS[name](self.catalogue, **given)


def evaluate(catalogue: Catalogue, expression: dict[str, Any]) -> Any:
    return Evaluation(catalogue, expression["values"]).refer(expression["result"], {})
