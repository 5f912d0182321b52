"""Copy search: the set, random originals and held-out images beside both splits; which of them are copies."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from medistill.artifacts.corpus import Corpus
from medistill.evaluate.intervals import Estimate
from medistill.evaluate.subgroups import hidden_cells
from medistill.privacy.attack import NOT_MADE, Attack, Evidence, Family, Figures, Needs
from medistill.privacy.audit import CopyFigures, CopyRule, GroupCopies, Subject
from medistill.privacy.criterion import Asked, Criterion, Verdict
from medistill.privacy.signals import Read, SetFacts, Signals
from medistill.recipe import AuditRecipe

if TYPE_CHECKING:
    from torch import Tensor

    from medistill.privacy.copies import Compared, Nearest
    from medistill.privacy.likeness import Originals

COPIES = Asked("copies", "at most", "share", "most_copies")
"""Share of the distilled images that are copies."""
LEAST_LIMIT = 0.5
"""Share of audit.copy_ratio to which real images of other patients may lower the limit; below it no search passes."""
ALIKE = (
    "1 in 100 held-out images is itself as near to a training image of another patient as a copy is; look for "
    "duplicates in the corpus, and for patients under two numbers"
)
COUNTED = "every image was compared"
ITSELF = Estimate.impossible("an original is a copy of itself")
OF_FIGURES: tuple[Subject, Subject] = ("distilled", "random")


@dataclass(frozen=True)
class AuditSubject:
    """Images to be audited, or to hold the set against.

    Attributes:
        name: which; of a set with tiles these, and behind them the stored images.
        grey: (Q, C, H, W) grey values in units of full scale.
        normalised: (Q, C, H, W) as a network sees them.
        labels: (Q,).
        weights: (Q,), in the loss.
        own: (Q,) patient whose images they are not compared with; -1 is nobody.
        rows: (Q,) of the corpus; -1 where they are not of it.
    """

    name: Subject
    grey: Tensor
    normalised: Tensor
    labels: np.ndarray
    weights: np.ndarray
    own: np.ndarray
    rows: np.ndarray

    def first(self, count: int) -> AuditSubject:
        """The first of the images."""
        some = slice(count)
        return replace(
            self,
            grey=self.grey[some],
            normalised=self.normalised[some],
            labels=self.labels[some],
            weights=self.weights[some],
            own=self.own[some],
            rows=self.rows[some],
        )


@dataclass(frozen=True)
class FeatureSpace:
    """Images as a network sees them that was trained on the originals.

    Attributes:
        subjects: (Q, F) of all subjects in turn, each of length 1.
        read: rows of the corpus -> the same of these.
    """

    subjects: Tensor
    read: Read


@dataclass(frozen=True)
class CopySignals:
    """What a search for copies works on.

    Attributes:
        subjects: the distilled images, as many random training images, and held-out images of other patients.
        corpus: what they are compared with.
        held_out: int64, rows of the validation and the test split.
        read: rows of the corpus -> grey values (B, C, H, W) in units of full scale.
        copy_ratio: of the recipe (see `copy_limit`).
        smallest_cell: fewest patients of a site for whom figures are shown.
    """

    subjects: tuple[AuditSubject, ...]
    corpus: Corpus
    held_out: np.ndarray
    read: Read
    copy_ratio: float
    smallest_cell: int

    @cached_property
    def train(self) -> np.ndarray:
        """Rows of the training split."""
        return self.corpus.rows("train")

    @cached_property
    def grey(self) -> Tensor:
        """(Q, C, H, W), of all subjects in turn."""
        import torch

        return torch.cat([subject.grey for subject in self.subjects])

    def compare(
        self, queries: Tensor, read: Read, read_shifted: Read | None = None
    ) -> tuple[Compared, Nearest, Nearest]:
        """All subjects beside both splits, by the product of unit vectors (see `compare_in`).

        Args:
            queries: (Q, V, D), V variants of each image of all subjects in turn.
            read: rows -> (B, D).
            read_shifted: rows -> (B, V, D).
        """
        from medistill.privacy.copies import compare_in

        own = np.concatenate([subject.own for subject in self.subjects])
        return compare_in(queries, self.train, self.held_out, read, self.corpus.groups, own, read_shifted)

    @cached_property
    def originals(self) -> Originals:
        """Both splits as they are searched for people, which is done on small images."""
        from medistill.privacy.likeness import Originals

        return Originals.of(self)

    @cached_property
    def by_pixels(self) -> tuple[Compared, Nearest, Nearest]:
        """The same by pixels at the best shift, with the nearest of each split, which other searches start from."""
        from medistill.privacy.copies import contrast_normalised, crops, windows

        return self.compare(
            contrast_normalised(windows(self.grey).flatten(2)),
            lambda rows: contrast_normalised(crops(self.read(rows)).flatten(1)),
            lambda rows: contrast_normalised(windows(self.read(rows)).flatten(2)),
        )

    def of_each(self, whole: Compared) -> list[Compared]:
        """What was compared of all subjects, subject by subject."""
        ends = np.cumsum([len(subject.labels) for subject in self.subjects])
        return [
            whole.part(slice(end - len(subject.labels), end)) for end, subject in zip(ends, self.subjects, strict=True)
        ]


class CopyAttack(Attack):
    """A search for copies: what it is held against, by the figures and the rule that it gives.

    Attributes:
        space: by which records know it.
        why_blind: why nothing could have been called a copy, as the end of a sentence.
    """

    family: ClassVar[Family] = "copies"
    needs: ClassVar[Needs] = "set"
    asks: ClassVar[tuple[Asked, ...]] = (COPIES,)
    space: ClassVar[str]
    why_blind: ClassVar[str] = "it does not find originals themselves"

    def judge(self, evidence: Evidence, facts: SetFacts, settings: AuditRecipe) -> tuple[Criterion, ...]:
        """Whether the share of copies is small enough, where a copy can be told from other images at all."""
        told, most = [], COPIES.threshold(settings)
        for rule in evidence.rules:
            (figures,) = (one for one in evidence.copies if (one.subject, one.space) == ("distilled", rule.space))
            share = figures.copies / figures.images
            verdict: Verdict = "fail" if share > most else "pass"
            reason = ""
            if verdict == "pass" and rule.ratio < LEAST_LIMIT * settings.copy_ratio:
                verdict, reason = "not enough evidence", ALIKE
            found = Criterion(f"Copies in {self.display_name}", share, most, verdict, reason, COPIES)
            told.append(found.unless_sure_to_pass(self.why_blind if rule.blind else ""))
        return tuple(told)

    def figures(self, evidence: Evidence, asked: Asked) -> Figures:
        """Shares that are copies; every image was compared, so that nothing is estimated."""
        found = {one.subject: one for one in evidence.copies if one.space == self.space}
        of_set, control = (_share(found[subject]) if subject in found else NOT_MADE for subject in OF_FIGURES)
        return Figures(of_set, control, ITSELF)


def _share(found: CopyFigures) -> Estimate:
    return Estimate(found.copies / found.images, reason=COUNTED) if found.images else NOT_MADE


class CopySearch(CopyAttack):
    """A search for copies in one space; what derives from it compares, and all else follows."""

    @abstractmethod
    def compare(self, signals: Signals) -> Compared:
        """Distances of all subjects in turn to the nearest image of either split."""

    def run(self, signals: Signals) -> Evidence:
        """The rule of the space, from the held-out images, and how many of each subject's images are copies by it."""
        search = signals.search
        if not len(search.held_out):
            return Evidence()
        from medistill.privacy.copies import copy_limit

        parts = search.of_each(self.compare(signals))
        limit = copy_limit(parts[-1].ratio, search.copy_ratio)
        figures = tuple(
            copy_figures(subject, self.space, part, part.ratio <= limit.ratio, search)
            for subject, part in zip(search.subjects, parts, strict=True)
        )
        blind = not any(one.copies for one in figures if one.subject == "random")
        rule = CopyRule(self.space, limit.ratio, limit.reference_images, blind=blind)
        return Evidence(rules=(rule,), copies=figures)


def copy_figures(
    subject: AuditSubject, space: str, part: Compared, copied: np.ndarray, search: CopySignals
) -> CopyFigures:
    """What a search found among the images of one subject.

    Args:
        subject: the images.
        space: in what they were compared.
        part: how near they are to either split.
        copied: bool, which of them are copies by the rule of the search.
        search: of which the corpus is.
    """
    from medistill.privacy.copies import mean_nearer

    return CopyFigures(
        subject=subject.name,
        space=space,
        images=len(copied),
        copies=int(copied.sum()),
        smallest_ratio=float(part.ratio.min()),
        median_ratio=float(np.median(part.ratio)),
        nearer=mean_nearer(part.nearer),
        classes=tuple(
            GroupCopies(name, int(np.sum(of := subject.labels == c)), int(np.sum(copied & of)))
            for c, name in enumerate(search.corpus.class_names)
        ),
        sites=_by_site(copied, part.train_rows, search),
    )


def _by_site(copied: np.ndarray, rows: np.ndarray, search: CopySignals) -> tuple[GroupCopies, ...]:
    """Copies by the site of the nearest training image; empty where there is one site.

    A site of few training patients is not shown, nor one from which its figures would follow (as among subgroups).
    """
    corpus = search.corpus
    at = corpus.sites[search.train]
    cells = {corpus.site_names[site]: search.train[at == site] for site in np.unique(at)}
    if len(cells) == 1:
        return ()
    hidden = hidden_cells(cells, corpus.groups, search.smallest_cell)
    told = []
    for name in cells:
        of = corpus.sites[rows] == corpus.site_names.index(name)
        counts = (None, None) if name in hidden else (int(of.sum()), int(np.sum(copied & of)))
        told.append(GroupCopies(name, *counts))
    return tuple(told)
