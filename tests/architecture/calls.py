"""Who calls whom among the project's own functions, read from the source."""

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache

from tests.architecture.sources import python_files, tree

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(slots=True)
class Module:
    """A module's functions, methods by their own name, and what its names stand for."""

    name: str
    functions: dict[str, list[Function]] = field(default_factory=dict)
    public: list[str] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)  # local name: dotted name


@cache
def modules() -> dict[str, Module]:
    """Every module of the packages, by dotted name."""
    found = {}
    for path in python_files(with_tests=False):
        module = Module(path.removesuffix(".py").removesuffix("/__init__").replace("/", "."))
        parsed = tree(path)
        for node in ast.walk(parsed):
            if isinstance(node, Function):
                module.functions.setdefault(node.name, []).append(node)
            elif isinstance(node, ast.ImportFrom) and node.module:
                module.names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            elif isinstance(node, ast.Import):
                module.names |= {alias.asname or alias.name: alias.name for alias in node.names}
        module.public = [n.name for n in parsed.body if isinstance(n, Function) and not n.name.startswith("_")]
        found[module.name] = module
    return found


def calls(node: ast.AST) -> Iterator[str]:
    """What is called in the node, as it is written there: `record`, `keys.end_keys`, `.save`."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Call):
            called = inner.func
            if isinstance(called, ast.Name):
                yield called.id
            elif isinstance(called, ast.Attribute):
                yield f".{called.attr}"
                if isinstance(called.value, ast.Name):
                    yield f"{called.value.id}.{called.attr}"


def reaches(module: str, function: str, is_it: Callable[[str], bool]) -> bool:
    """Whether the function, or one of ours that it calls however deep, has a call that `is_it` by its dotted name."""
    seen: set[tuple[str, str]] = set()
    waiting = [(module, function)]
    while waiting:
        at = waiting.pop()
        if at in seen or at[0] not in modules():
            continue
        seen.add(at)
        here = modules()[at[0]]
        for node in here.functions.get(at[1], []):
            for call in calls(node):
                first, _, rest = call.partition(".")
                full = f"{here.names[first]}.{rest}".rstrip(".") if first in here.names else call
                if is_it(full):
                    return True
                if call in here.functions:
                    waiting.append((here.name, call))
                elif first in here.names:
                    waiting.append(tuple(full.rpartition(".")[::2]))  # type: ignore[arg-type]  # module, function
    return False
