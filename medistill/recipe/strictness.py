"""Strictness: in which direction a setting weakens an audit, and by which settings an audit is laxer than shipped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel
from pydantic.fields import FieldInfo


@dataclass(frozen=True)
class Laxer:
    """Stands at a setting on which an audit depends: it is laxer where its value lies ``when`` its reference.

    Attributes:
        when: "above" or "below".
        than: the reference, where it is not the default: the laxest value of the recipes that are shipped.
        later: audits that do not tell of it are of versions without the setting, which did what is shipped now.
    """

    when: Literal["above", "below"]
    than: float | None = None
    later: bool = False


@dataclass(frozen=True)
class Deviation:
    """A setting by which an audit differs from the shipped one.

    Attributes:
        setting: its name, as section.key.
        value: what the audit had; None where it does not say.
        shipped: the reference.
        laxer: the audit is weaker for it; else stricter.
    """

    setting: str
    value: float | None
    shipped: float
    laxer: bool

    @property
    def sentence(self) -> str:
        """Such as "audit.most_copies is 0.9 (laxer than the shipped 0)"."""
        if self.value is None:
            return f"{self.setting} is not told (shipped: {self.shipped:g})"
        how = "laxer" if self.laxer else "stricter"
        return f"{self.setting} is {self.value:g} ({how} than the shipped {self.shipped:g})"


def strictness(sections: Mapping[str, BaseModel]) -> dict[str, float]:
    """The settings on which an audit depends, with their values: ``most_copies``, ``evaluate.confidence``, ...

    Args:
        sections: name -> section of a recipe.
    """
    return {
        _key(section, name): getattr(settings, name)
        for section, settings in sections.items()
        for name, _, _ in declared(type(settings))
    }


def deviations(values: Mapping[str, float], sections: Mapping[str, type[BaseModel]]) -> tuple[Deviation, ...]:
    """Every setting in which an audit differs from the shipped one; one that it does not tell of counts as laxer, but
    where it came later.

    Args:
        values: as `strictness` gives them; names that no section declares are not looked at.
        sections: name -> kind of section, with the shipped values.
    """
    found = []
    for section, kind in sections.items():
        for name, field, mark in declared(kind):
            shipped = float(field.default if mark.than is None else mark.than)
            setting, value = f"{section}.{name}", values.get(_key(section, name), shipped if mark.later else None)
            laxer = value is None or (value > shipped if mark.when == "above" else value < shipped)
            if laxer or (value != shipped and mark.than is None):
                found.append(Deviation(setting, value, shipped, laxer=laxer))
    return tuple(found)


def declared(kind: type[BaseModel]) -> Iterator[tuple[str, FieldInfo, Laxer]]:
    """Every setting of a section that says in which direction it weakens an audit."""
    for name, field in kind.model_fields.items():
        for mark in field.metadata:
            if isinstance(mark, Laxer):
                yield name, field, mark


def _key(section: str, name: str) -> str:
    """What a record of an audit calls a setting: those of its own section by their names alone."""
    return name if section == "audit" else f"{section}.{name}"
