"""Attack registry: every attack in the folder ``attacks``, where a file is found by lying there."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from medistill.privacy import attacks as folder
from medistill.privacy.attack import Attack
from medistill.privacy.copy_search import CopyAttack


def all_attacks() -> tuple[Attack, ...]:
    """Every attack, in the order of tables."""
    modules = (import_module(f"{folder.__name__}.{module.name}") for module in iter_modules(folder.__path__))
    found = [attack for module in modules for attack in module.ATTACKS]
    return tuple(sorted(found, key=lambda attack: (attack.rank, attack.name)))


def display_name(name: str) -> str:
    """How tables call the attack that records know by this name; the name itself where it is another version's."""
    return {attack.name: attack.display_name for attack in all_attacks()}.get(name, name)


def space_name(space: str) -> str:
    """How tables call the space of a search for copies, likewise."""
    searches = (attack for attack in all_attacks() if isinstance(attack, CopyAttack))
    return {search.space: search.display_name for search in searches}.get(space, space)
