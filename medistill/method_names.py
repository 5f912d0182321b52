"""The names of the methods: the files of `medistill/methods`. Nothing is imported to find them.

A file has an underscore where its method's name has a hyphen: `rat_bptt.py` is `rat-bptt`.

A recipe names its method by one of these and by nothing else, so no word in a recipe can choose what is imported.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType

PACKAGE = "medistill.methods"
DEFAULT_METHOD = "iadd"
"""Method of a recipe that names none."""
SHARED = ("base", "registry")
"""Files of the package that are no method; packages inside it are shared by methods, and are none either."""


def method_names() -> tuple[str, ...]:
    """Names of the methods, in alphabetical order."""
    return _names_in(tuple(import_module(PACKAGE).__path__))


@cache
def _names_in(folders: tuple[str, ...]) -> tuple[str, ...]:
    """The same; folders are read once, since a recipe with many settings asks for the names at each."""
    found = iter_modules(folders)
    return tuple(sorted(one.name.replace("_", "-") for one in found if not one.ispkg and one.name not in SHARED))


def method_module(name: str) -> ModuleType:
    """The file of a method, imported.

    Raises:
        KeyError: there is no method of that name.
    """
    if name not in method_names():
        raise KeyError(name)
    return import_module(f"{PACKAGE}.{_file(name)}")


@cache
def method_summary(name: str) -> str:
    """What the first line of a method's file says of it, after its name; the file is read and not run."""
    for folder in import_module(PACKAGE).__path__:
        path = Path(folder) / f"{_file(name)}.py"
        if path.is_file():
            with path.open(encoding="utf-8") as file:
                return file.readline().partition(": ")[2].strip().strip('"').rstrip(".")
    return ""


def _file(name: str) -> str:
    """The name of the file of a method."""
    return name.replace("-", "_")
