"""Imports run one way: README lists what is where in the order of imports, and no module imports a higher one."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted(path for top in ("binarized", "mnist", "pnas") for path in (ROOT / top).rglob("*.py"))


def name_of(path):
    """pnas/store/store.py -> pnas.store.store, pnas/store/__init__.py -> pnas.store."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


NAMES = {name_of(path): path for path in [*MODULES, ROOT / "train.py"]}


def imported(path):
    """The modules of this project that a module imports, at its top or within functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found & NAMES.keys()


def listed():
    """The paths of README's list, top to bottom, without those of tests."""
    section = (ROOT / "README.md").read_text().partition("## Where things are")[2].partition("\n## ")[0]
    return [ROOT / path for path in re.findall(r"^    (\S+)  ", section, re.M) if not path.startswith("tests")]


def height(path):
    """The place of a module in README's list, the lowest line 0; a file that is listed counts, not its folder."""
    order = listed()
    places = [place for place in (path, *path.parents) if place in order]
    assert places, f"README does not list {path}"
    return len(order) - order.index(places[0])


def test_readme_lists_what_exists():
    assert len(listed()) > 10 and all(path.exists() for path in listed())


@pytest.mark.parametrize("name", NAMES)
def test_no_module_imports_a_higher_one(name):
    path = NAMES[name]
    for other in imported(path) - {name}:
        is_package_of = name.startswith(f"{other}.")  # importing a module imports its packages, which import nothing
        assert is_package_of or height(NAMES[other]) <= height(path), f"{name} imports {other}"


def test_no_modules_import_each_other_in_a_circle():
    graph = {name: imported(path) - {name} for name, path in NAMES.items()}
    ended = set()

    def visit(name, trail):
        assert name not in trail, " -> ".join([*trail, name])
        if name not in ended:
            for other in graph[name]:
                if not name.startswith(f"{other}."):
                    visit(other, [*trail, name])
            ended.add(name)

    for name in graph:
        visit(name, [])


def test_each_folder_knows_only_what_is_below_it():
    allowed = {"binarized": {"binarized"}, "mnist": {"mnist"}, "pnas": {"pnas", "binarized"}}
    for name, path in NAMES.items():
        top = name.partition(".")[0]
        if top in allowed:
            assert {other.partition(".")[0] for other in imported(path)} <= allowed[top], name


def test_pnas_has_at_most_ten_modules_and_three_folders():
    modules = [path for path in (ROOT / "pnas").glob("*.py") if path.name != "__init__.py"]
    folders = [path for path in (ROOT / "pnas").iterdir() if (path / "__init__.py").exists()]
    assert len(modules) <= 10 and len(folders) <= 3
