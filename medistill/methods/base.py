"""What a method is: the settings of its recipe, what others say of it, and how it distils."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Generic, Literal, TypeVar

from medistill.recipe.method import MethodSettings

Needs = Literal["experts", "nothing"]
"""What has to be made of the corpus before a method can distil: trajectories of experts, or nothing."""
Settings = TypeVar("Settings", bound=MethodSettings)


@dataclass(frozen=True)
class Facts:
    """What report, data card, DICOM export and methods text say of a method, and by what they choose their words.

    Attributes:
        display_name: its name, as "IADD".
        family: what was done, as "trajectory matching"; it stands after "made by".
        phrase: what it is called in a methods section, with the work that it cites.
        citations: how the phrase cites a work -> the work.
        experts: it follows experts.
        outer_steps: the images are learned step by step, with their learning rate, and the best of them are chosen by
            the validation split; else there is one set, and nothing to choose.
        centroids: each image is the mean of several originals, decoded.
    """

    display_name: str
    family: str
    phrase: str
    citations: Mapping[str, str] = field(default_factory=dict)
    experts: bool = False
    outer_steps: bool = False
    centroids: bool = False


class Method(ABC, Generic[Settings]):
    """A method. Its file holds one as ``METHOD``."""

    settings_type: type[Settings]
    needs: ClassVar[Needs]

    @abstractmethod
    def facts(self, settings: Settings | None = None) -> Facts:
        """What is said of it; of a set whose settings are not at hand, what holds for all."""
