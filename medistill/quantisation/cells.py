"""Cells: the codes of a class, divided among a few centroids that are the means of what they stand for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from medistill.errors import DataError
from medistill.training.randomness import derive_seed

SPLITS = 3
"""Times that a level moves the centroids of too small cells into larger ones before it gives any up."""
ASIDE = 20
"""One code in so many may be set aside."""
Tick = Callable[[int], object]
"""Called with the number of codes after every batch."""


@dataclass(frozen=True, eq=False)
class Cells:
    """A class by its centroids.

    Attributes:
        centres: float32 (K, D), level after level, each level by falling mass.
        images: int64 (K,), codes nearest to each.
        patients: int64 (K,), patients (`patients_by_share`) whose mean the centroid is, or those in the cell where they
            are fewer: with frozen centroids, and where the passes end before they rest, the two are not quite the same.
        given_up: centroids that are fewer than were asked for.
        set_aside: codes that are in a cell and in no mean (`_Reader.level`).
        cell: int64 (n,), the nearest centroid of each code.
        w2: root mean squared distance of a code to it: W2 between the class and the centroids with the masses of their
            cells (`wasserstein.w2_mass`), in units of the code.
        levels: how many centroids there were after each level.
    """

    centres: np.ndarray
    images: np.ndarray
    patients: np.ndarray
    given_up: int
    set_aside: int
    cell: np.ndarray
    w2: float
    levels: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Assignment:
    """What a pass over codes finds.

    Attributes:
        cell: int64 (n,), nearest centroid; of equally near ones the first.
        squared: float64 (n,), squared distance to it.
        sums: float64 (K, D), sum of the codes of each cell.
    """

    cell: np.ndarray
    squared: np.ndarray
    sums: np.ndarray


def assign(codes: np.ndarray, centres: np.ndarray, *, batch: int, tick: Tick) -> Assignment:
    """Find the nearest of centroids (K, D) for codes (n, D), which may be a memory map, batch by batch."""
    origin = np.median(centres, axis=0)  # far from it, products in float32 would not tell centroids apart
    near = centres - origin
    halves, units = (near**2).sum(axis=1) / 2, np.eye(len(centres))
    cell, squared = np.empty(len(codes), np.int64), np.empty(len(codes))
    sums = np.zeros(centres.shape)
    for start in range(0, len(codes), batch):
        some = np.asarray(codes[start : start + batch])
        here = ((some - origin) @ near.T - halves).argmax(axis=1)
        cell[start : start + batch] = here
        squared[start : start + batch] = ((some.astype(np.float64) - centres[here]) ** 2).sum(axis=1)
        sums += units[here].T @ some
        tick(len(some))
    return Assignment(cell, squared, sums)


def distinct(codes: np.ndarray, most: int, *, batch: int) -> int:
    """How many different codes there are, or at least ``most``: it stops reading there."""
    seen = np.asarray(codes[:0])
    for start in range(0, len(codes), batch):
        seen = np.unique(np.concatenate([seen, codes[start : start + batch]]), axis=0)
        if len(seen) >= most:
            break
    return len(seen)


def quantise(
    codes: np.ndarray,
    groups: np.ndarray,
    count: int,
    *,
    levels: Sequence[int] = (),
    least: int,
    passes: int,
    refine: int,
    batch: int,
    seed: int,
    name: str,
    tick: Tick,
) -> Cells:
    """Quantise the codes of a class: CLVQ, then Lloyd, until at least ``least`` patients are in every cell.

    Competitive learning vector quantisation moves the nearest centroid towards each code by the inverse of how many
    codes it has met, and is stochastic gradient descent of the distortion; scikit-learn's mini-batch k-means is that
    in batches. Lloyd's passes then make each centroid the mean of its cell (Pagès and Yu 2013, arXiv:1401.0192).
    Centroids of too small cells are moved, then given up (`_Reader.level`).

    With ``levels`` below ``count``, the centroids of each are frozen, and the next adds its own to them. The first is,
    bit for bit, what its number alone gives. All arithmetic runs on one thread: sums do not depend on how many there
    are.

    Args:
        codes: float32 (n, D), finite, may be a memory map.
        groups: int64 (n,), patient of each.
        count: centroids asked for.
        levels: numbers of centroids to stop at before, ascending; those from ``count`` on are left out.
        least: fewest patients in a cell, counted as `patients_by_share` does.
        passes: of CLVQ over all codes; later levels begin instead with codes that are drawn by their squared distance
            from the centroids so far, as k-means++ does.
        refine: Lloyd's passes at most. There is always one more, since a centroid that CLVQ left stands for no set of
            patients.
        batch: codes that are read at once.
        seed: of order and starts.
        name: of the class, for messages.
        tick: called with the number of codes after every batch, n in all in a pass: ``passes`` and at most
            ``refine + 2`` where nothing is given up and there is one level; otherwise more.

    Raises:
        DataError: fewer different codes than centroids, or fewer patients than ``least``.
    """
    _enough(codes, groups, count, least, batch, name)
    import sklearn.cluster  # noqa: F401  (a limit holds for the libraries that are loaded by then)
    from threadpoolctl import threadpool_limits

    centres, patients = np.empty((0, codes.shape[1]), np.float32), np.empty(0, np.int64)
    shown, reached, set_aside = np.empty(0, np.int64), [], 0
    with threadpool_limits(1):
        reader = _Reader(codes, groups, least, refine, batch, tick)
        for number, wanted in enumerate([*(level for level in levels if level < count), count]):
            rng = np.random.default_rng(derive_seed(seed, "level", number))
            frozen = len(centres)
            if number == 0:
                start = _clvq(codes, wanted, passes, batch, derive_seed(seed, "clvq"), tick)
            else:
                start = reader.joined(centres, wanted - frozen, rng)
            if (added := reader.level(start, patients, rng)) is not None:
                centres, patients, found, set_aside = added
                images = np.bincount(found.cell, minlength=len(centres))
                # Sorted when they are shown: codes that lie as near to two centroids must not change sides meanwhile.
                shown = np.concatenate([shown, frozen + np.argsort(-images[frozen:], kind="stable")])
            reached.append(len(centres))
    return Cells(
        centres=centres[shown],
        images=images[shown],
        patients=patients[shown],
        given_up=count - len(centres),
        set_aside=set_aside,
        cell=np.argsort(shown)[found.cell],
        w2=float(np.sqrt(found.squared.mean())),
        levels=tuple(reached),
    )


def _enough(codes: np.ndarray, groups: np.ndarray, count: int, least: int, batch: int, name: str) -> None:
    patients = int(patients_by_share(np.zeros(len(groups), np.int64), groups, 1)[0])
    if patients < least:
        raise DataError(
            f"class {name} has {len(np.unique(groups))} training patients, who by their share of its images count as "
            f"{patients}, fewer than "
            f"method.quantise.min_cluster_size = {least}: a distilled image of it would show them",
            expected="at least that many patients in every class, since a distilled image is the mean of so many",
            do="add patients of that class, or leave it out with --classes; a smaller "
            "method.quantise.min_cluster_size shows more of each",
        )
    different = distinct(codes, count, batch=batch)
    if different < count:
        raise DataError(
            f"class {name} has only {different} different training images, fewer than {count} images per class",
            expected="at least as many different training images in every class as images per class",
            do=f"take --ipc {different} or less, or add images of that class",
        )


def _clvq(codes: np.ndarray, count: int, passes: int, batch: int, seed: int, tick: Tick) -> np.ndarray:
    """Float32 (K, D): k-means++ on the first batch, then passes over all codes in an order that is drawn anew."""
    from sklearn.cluster import MiniBatchKMeans

    # Reassignment would reset the counts that the steps are the inverse of.
    model = MiniBatchKMeans(
        count, n_init=1, reassignment_ratio=0, compute_labels=False, random_state=derive_seed(seed, "start") % 2**32
    )
    rng, piece = np.random.default_rng(derive_seed(seed, "order")), max(batch, count)
    for _ in range(passes):
        order = rng.permutation(len(codes))
        for start in range(0, len(codes), piece):
            model.partial_fit(codes[np.sort(order[start : start + piece])])
            tick(len(order[start : start + piece]))
    centres: np.ndarray = model.cluster_centers_.astype(np.float32)
    return centres


@dataclass(frozen=True, eq=False)
class _Reader:
    """Passes over the codes of one class; the fields are arguments of `quantise`."""

    codes: np.ndarray
    groups: np.ndarray
    least: int
    refine: int
    batch: int
    tick: Tick

    def assign(self, centres: np.ndarray) -> Assignment:
        return assign(self.codes, centres, batch=self.batch, tick=self.tick)

    def joined(self, centres: np.ndarray, more: int, rng: np.random.Generator) -> np.ndarray:
        """Centroids with up to ``more`` codes after them, each drawn by its squared distance from all before it."""
        squared = self.assign(centres).squared
        for _ in range(more):
            if not squared.any():
                break
            centres = np.concatenate([centres, self.codes[_drawn(squared, rng)][None]])
            squared = np.minimum(squared, self.assign(centres[-1:]).squared)
        return centres

    def level(
        self, centres: np.ndarray, before: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, Assignment, int] | None:
        """Lloyd until every cell has enough patients; the frozen centroids stay where they are.

        A centroid whose cell has too few is moved into the cell with the largest distortion that is large enough for
        two; after `SPLITS` times, or where there is none, the smaller half of those centroids is removed, and their
        codes join their neighbours. In place of a frozen centroid the nearest other one is moved or removed. Codes that
        are in a too small cell once more by then are set aside, those furthest from the mean of all codes first, and
        one in `ASIDE` at most: they still belong to a cell, but no mean is taken of them. One outlier would otherwise
        draw mean after mean to itself, each of which is removed in turn. It ends:
        there are at most `SPLITS` moves, then every round removes one centroid at least. What is left last is one cell
        of all codes, none of them set aside, or the level before; both have enough.

        Args:
            centres: (K, D), the frozen ones first.
            before: (F,), patients of the frozen ones.

        Returns:
            The centroids, their patients, the codes' assignment, and how many codes were set aside; None where no
            centroid could be added to the frozen ones.
        """
        moves, frozen = 0, len(before)
        in_mean, isolated = np.ones(len(self.codes), bool), np.zeros(len(self.codes), bool)
        while len(centres) > frozen:
            centres, averaged, found = self.lloyd(centres, frozen, in_mean)
            patients = np.minimum(*(self.patients(cell, in_mean, len(centres)) for cell in (found.cell, averaged)))
            patients[:frozen] = np.minimum(before, self.patients(found.cell, in_mean, len(centres))[:frozen])
            undersized = self.undersized(centres, frozen, patients)
            if not len(undersized):
                return centres, patients, found, int(np.sum(~in_mean))
            splittable = (patients >= 2 * self.least)[found.cell] & in_mean
            if moves < SPLITS and found.squared[splittable].any():
                centres = self.moved(centres, undersized, np.where(splittable, found.squared, 0.0), found.cell, rng)
                moves += 1
            elif len(centres) == 1:
                in_mean[:], isolated[:] = True, False
                continue
            else:
                centres, moves = np.delete(centres, undersized[: (len(undersized) + 1) // 2], axis=0), SPLITS
            alone = (patients < self.least)[found.cell]
            if moves == SPLITS:
                in_mean[self.outliers(np.flatnonzero(alone & isolated & in_mean), in_mean, found)] = False
            isolated |= alone
        return None

    def outliers(self, among: np.ndarray, in_mean: np.ndarray, found: Assignment) -> np.ndarray:
        """Which of some codes to set aside: those furthest from the mean of all, as long as there are not too many."""
        mean = found.sums.sum(axis=0) / len(self.codes)
        squared = ((self.codes[among] - mean) ** 2).sum(axis=1)
        return among[np.argsort(-squared, kind="stable")][: len(in_mean) // ASIDE - np.sum(~in_mean)]

    def patients(self, cell: np.ndarray, in_mean: np.ndarray, count: int) -> np.ndarray:
        """Int64 (K,), patients of each cell (n,) among the codes that means are taken of."""
        return patients_by_share(cell[in_mean], self.groups[in_mean], count)

    def lloyd(self, centres: np.ndarray, frozen: int, in_mean: np.ndarray) -> tuple[np.ndarray, np.ndarray, Assignment]:
        """Lloyd's passes, whatever the size of the cells. An empty cell keeps its centroid.

        Args:
            centres: (K, D).
            frozen: how many of them stay.
            pulls: bool (n,), codes that means are taken of.

        Returns:
            The centroids; the cells (n,) that those which moved are the means of; the codes' assignment.
        """
        found = self.assign(centres)
        for _ in range(self.refine + 1):
            averaged, counts = found.cell, np.bincount(found.cell[in_mean], minlength=len(centres))
            moving = (counts > 0) & (np.arange(len(centres)) >= frozen)
            before, centres = centres, centres.copy()
            centres[moving] = self.sums(found, in_mean)[moving] / counts[moving, None]
            if np.array_equal(before, centres):
                break
            found = self.assign(centres)
        return centres, averaged, found

    def sums(self, found: Assignment, in_mean: np.ndarray) -> np.ndarray:
        """Float64 (K, D), sum of the codes of each cell that means are taken of."""
        aside = np.flatnonzero(~in_mean)
        if not len(aside):
            return found.sums
        sums = found.sums.copy()
        np.subtract.at(sums, found.cell[aside], self.codes[aside].astype(np.float64))
        return sums

    def undersized(self, centres: np.ndarray, frozen: int, patients: np.ndarray) -> np.ndarray:
        """Centroids to move or remove, those of the fewest patients first."""
        small = np.flatnonzero(patients < self.least)
        healing = [
            k if k >= frozen else frozen + int(((centres[frozen:] - centres[k]) ** 2).sum(axis=1).argmin())
            for k in small[np.argsort(patients[small], kind="stable")]
        ]
        return np.array([*dict.fromkeys(healing)], np.int64)

    def moved(
        self, centres: np.ndarray, which: np.ndarray, squared: np.ndarray, cell: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """Centroids of which some are moved to a code of the cell with the largest distortion, one after another."""
        centres = centres.copy()
        for k in which:
            worst = cell == np.bincount(cell, squared).argmax()
            inside = np.where(worst, squared, 0.0)
            if not inside.any():
                break
            centres[k] = self.codes[_drawn(inside, rng)]
            squared = np.minimum(squared, self.assign(centres[k][None]).squared)
        return centres


def _drawn(squared: np.ndarray, rng: np.random.Generator) -> int:
    """An index, drawn in proportion to ``squared`` (n,), whose sum is above zero."""
    cumulated = np.cumsum(squared)
    return int(np.searchsorted(cumulated, rng.random() * cumulated[-1], side="right"))


def patients_by_share(cell: np.ndarray, groups: np.ndarray, count: int) -> np.ndarray:
    """Int64 (K,), patients in each cell by their share of its images: n^2 / sum n_p^2, rounded down.

    It is how many patients there are where all have as many images there, and near 1 where nearly all are of one.
    """
    pairs, of_pair = np.unique(np.stack([cell, groups], axis=1), axis=0, return_counts=True)
    squares = np.bincount(pairs[:, 0], of_pair**2, minlength=count).astype(np.int64)
    return np.bincount(cell, minlength=count) ** 2 // np.maximum(squares, 1)
