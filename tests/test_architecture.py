"""The order of the modules: each entry of the package imports only from those above it, and nothing imports in circles.

Imports are read from the source, so that delayed ones and those under `TYPE_CHECKING` count too.
"""

from __future__ import annotations

import ast
from pathlib import Path

import thermospin

PACKAGE = Path(thermospin.__file__).parent

#: Files and packages directly in the package, from the ground up. CONTRIBUTING.md prints them in this order.
ORDER = (
    "base",
    "quantities",
    "linear",
    "grid",
    "geometry",
    "device",
    "operators",
    "solve",
    "parallel",
    "model",
    "signals",
    "accuracy",
    "data",
    "inference",
    "inverse",
    "designs",
    "analytic",
    "report",
    "studies",
    "cli",
)
#: What makes it a package and a command: the public names, and `python -m thermospin`.
DOORS = ("__init__", "__main__")


def modules() -> dict[str, Path]:
    """Every module of the package, by its dotted name without the package's."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts[-1] == "__init__" and len(parts) > 1:
            parts = parts[:-1]
        found[".".join(parts)] = path
    return found


def imports(path: Path, known: dict[str, Path]) -> set[str]:
    """Modules of the package that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    found = set()
    for name in names:
        package, *parts = name.split(".")
        if package != "thermospin":
            continue
        while parts and ".".join(parts) not in known:
            parts.pop()
        found.add(".".join(parts) or "__init__")
    return found


def entry(module: str) -> str:
    """The file or package directly in thermospin/ that a module belongs to."""
    return module.partition(".")[0]


def test_there_are_at_most_twenty_entries_and_each_has_its_place() -> None:
    assert len(ORDER) <= 20
    assert {entry(module) for module in modules()} - set(DOORS) == set(ORDER)


def test_each_entry_imports_only_from_those_above_it() -> None:
    known = modules()
    place = {name: number for number, name in enumerate(ORDER)}
    arrows = [
        (module, other)
        for module, path in known.items()
        if module not in DOORS
        for other in imports(path, known)
        if entry(other) != entry(module)
    ]
    assert len(arrows) > 100
    wrong = [
        f"{module} imports {other}"
        for module, other in arrows
        if entry(other) not in place or place[entry(other)] > place[entry(module)]
    ]
    assert not wrong, "\n".join(sorted(wrong))


def test_no_modules_import_each_other_in_a_circle() -> None:
    known = modules()
    left = {module: imports(path, known) - {module} for module, path in known.items() if module not in DOORS}
    while free := [module for module, others in left.items() if not others & set(left)]:
        for module in free:
            del left[module]
    assert not left, f"circles among: {', '.join(sorted(left))}"


def test_contributing_prints_the_order() -> None:
    text = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    places = [text.find(f"| `{name}") for name in ORDER]
    assert -1 not in places and places == sorted(places)


def test_no_class_compares_arrays() -> None:
    """`==` and `in` would raise: an array has no one truth. Such classes are compared by identity, with `eq=False`."""
    wrong = []
    for module, path in modules().items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ClassDef):
                continue
            flags = [ast.unparse(each) for each in node.decorator_list]
            compared = any("dataclass" in each and "eq=False" not in each for each in flags)
            fields = [each for each in node.body if isinstance(each, ast.AnnAssign)]
            arrays = any(
                "ndarray" in ast.unparse(each.annotation) and "compare=False" not in ast.unparse(each)
                for each in fields
            )
            if compared and arrays:
                wrong.append(f"{module}: {node.name}")
    assert not wrong, sorted(wrong)
