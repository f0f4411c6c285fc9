"""The rooms of the house: who may import whom, and no circles between files. Imports for type checkers count."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BASE = "common configs models"
ALLOWED = {
    "common": "",
    "configs": "common",
    "models": "common configs",
    "data": BASE,
    "inference": BASE,
    "training": f"{BASE} data inference",
    "sample": f"{BASE} data",
    "infer": f"{BASE} inference",
    "train": f"{BASE} data inference training",
    "apps": f"{BASE} data inference",
    "zoo": f"{BASE} data inference training",
    "__init__": f"{BASE} inference",
    "__main__": "common __init__",
    "benchmarks": f"{BASE} data inference training apps zoo sample train infer __init__",
}
"""What each room, or file of the root, may import besides itself."""
FILES = {
    ".".join(("text2latent", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): path
    for room in ALLOWED
    for path in ([ROOT / f"{room}.py"] if (ROOT / f"{room}.py").exists() else (ROOT / room).rglob("*.py"))
}


def imported(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    froms = [
        node for node in nodes if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("text2latent")
    ]
    names = {f"{node.module}.{alias.name}" for node in froms for alias in node.names} | {node.module for node in froms}
    names |= {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return names & FILES.keys()


GRAPH = {name: imported(path) - {name} for name, path in FILES.items()}


def room_of(module: str) -> str:
    return (*module.split("."), "__init__")[1]


@pytest.mark.parametrize("room", ALLOWED)
def test_a_room_imports_only_what_lies_below_it(room: str) -> None:
    mine = {name: found for name, found in GRAPH.items() if room_of(name) == room}
    assert mine
    allowed = {room, *ALLOWED[room].split()}
    assert [(name, other) for name, found in mine.items() for other in found if room_of(other) not in allowed] == []


def test_no_two_files_import_each_other_in_a_circle() -> None:
    TopologicalSorter(GRAPH).prepare()  # raises CycleError, naming the circle


def test_the_zoo_is_imported_by_benchmarks_alone() -> None:
    using = {room_of(name) for name, found in GRAPH.items() if any(room_of(other) == "zoo" for other in found)}
    assert using <= {"zoo", "benchmarks"}


def test_sibling_rooms_have_no_two_files_of_one_name() -> None:
    pairs = [(path.parent.parent, path.name) for path in FILES.values() if path.parent != ROOT]
    usual = {"__init__.py", "command.py"}
    assert sorted({pair for pair in pairs if pair[1] not in usual and pairs.count(pair) > 1}) == []
