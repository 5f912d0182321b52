"""Tracing: whether the class statistics that travel with a set lean towards what one person would have added.

Homer et al. (2008) found people in the allele frequencies of a pool that they were part of; Dwork, Smith, Steinke,
Ullman and Vadhan (2015) that noisy means of many numbers are enough. What is asked here is their question of the sums
that a set was released with. Let person u add v_u(c) to the sum of class c (all images of a person, shortened to the
clip and divided over the classes as the release does it), and let strangers of class c add mu_c each, with covariance S
about it. Of n_c people, mu_c being a mean over m_c strangers, and with noise of deviation t_c, the sum y_c is about

    Normal(n mu, V)  without u,     Normal(n mu + d, V)  with u,     V = n (1 + n / m) S + t^2 I,     d = v_u - mu,

and the logarithm of their ratio is linear in the sum: (v - mu)' W (y - n mu) - (v - mu)' W (v - mu) / 2, W = V^-1. How
many people there are is known with noise, or as a rounded number; so the multiple of mu that explains the sum best is
taken off, and that of v, each in the metric W. The score of a person is the sum over the classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from medistill.privacy.attack import Knowledge
from medistill.privacy.membership import Source
from medistill.privacy.score_attack import ScoreAttack, Scores
from medistill.privacy.signals import Released, SetFacts, Signals, cells_of

if TYPE_CHECKING:
    from medistill.artifacts.class_statistics import ClassStatistics

FOLDS = 5
"""Parts of the people; of each part the strangers are of the other parts, or a stranger's score would know of them."""
MOST_STRANGERS = 4096
"""Held-out people at most who say what strangers add."""
LEAST_SHRINKAGE = 1e-3
"""Share of the identity in their covariance at least: no direction counts beyond measure."""
PIECE = 2**22
"""Numbers of contributions that are held at once."""
NO_STRANGERS = "held-out people of its classes are too few, or too alike, to say what strangers add to the statistics"
NOT_FINITE = "no finite score follows from the numbers in the statistics"


@dataclass(frozen=True)
class Added:
    """What people add to the sums: an entry for every person and class of whom there is an image.

    Attributes:
        people: int64 (E,), their numbers in the corpus.
        classes: int64 (E,), rows of the sums.
        sums: float64 (E, K).
        shares: float64 (E,), what they add to the counts.
    """

    people: np.ndarray
    classes: np.ndarray
    sums: np.ndarray
    shares: np.ndarray


@dataclass(frozen=True)
class Sums:
    """Sums that are attacked.

    Attributes:
        sums: float64 (C, K).
        sizes: float64 (C,), about how many people are in each, at least 1.
        noise: float64 (C,), standard deviation of each of their numbers.
    """

    sums: np.ndarray
    sizes: np.ndarray
    noise: np.ndarray

    @classmethod
    def of(cls, statistics: ClassStatistics) -> Sums:
        """Those that were released."""
        return cls(statistics.sums, statistics.sizes, np.array(statistics.record.sums_noise))

    @classmethod
    def without_noise(cls, parts: Iterable[Added], classes: int, numbers: int) -> Sums:
        """Those of some people, as they are."""
        sums, sizes = np.zeros((classes, numbers)), np.zeros(classes)
        for part in parts:
            np.add.at(sums, part.classes, part.sums)
            np.add.at(sizes, part.classes, part.shares)
        return cls(sums, np.maximum(sizes, 1.0), np.zeros(classes))


def added_by(rows: np.ndarray, groups: np.ndarray, released: Released) -> Iterator[Added]:
    """Give what people add to the sums, some people at a time, as the release adds it up (`contributions`).

    Args:
        rows: of the corpus, all images of a person that take part; those of other classes than the statistics' do not.
        groups: int64, by row of the corpus, the person.
        released: the statistics.
    """
    from medistill.statistics.contributions import Blocks, contributions

    record, numbers = released.statistics.record, released.statistics.projection.dimension
    blocks = Blocks(len(record.class_names), numbers, record.clip, counts=0.0, second=0.0)
    rows = rows[released.classes[rows] >= 0]
    known, person = np.unique(groups[rows], return_inverse=True)
    for few in np.array_split(np.arange(len(known)), max(1, -(-len(known) * blocks.length // PIECE))):
        own = rows[np.isin(person, few)]
        labels, units = released.classes[own], released.units[own]
        _, first, unit, images = np.unique(units, return_index=True, return_inverse=True, return_counts=True)
        whose = np.searchsorted(known[few], groups[own[first]])
        sums = np.zeros((len(few), blocks.classes, numbers))
        shares, start = np.zeros(sums.shape[:2]), 0

        def projected(at: np.ndarray, own: np.ndarray = own) -> np.ndarray:
            return released.project(own[at])

        for piece in contributions(projected, labels, unit, blocks):
            of, start = whose[start : start + len(piece)], start + len(piece)
            np.add.at(sums, of, piece.reshape(len(piece), *sums.shape[1:]) / blocks.scales[0])
        np.add.at(shares, (whose[unit], labels), 1 / images[unit])
        people, classes = np.nonzero(shares)
        yield Added(known[few[people]], classes, sums[people, classes], shares[people, classes])


@dataclass(frozen=True)
class Strangers:
    """What held-out people add, who say what is usual. They are in no sum that is attacked, unless they have training
    images too, as where images were drawn singly.

    Attributes:
        means: float64 (C, K), for a share of one; zeros for a class of which there is nobody.
        sizes: float64 (C,), how many strangers are behind each.
        axes: float64 (r, K), orthonormal, in which they differ.
        variances: float64 (r,), how much in these, for a share of one.
        rest: how much in any other direction.
    """

    means: np.ndarray
    sizes: np.ndarray
    axes: np.ndarray
    variances: np.ndarray
    rest: float

    @classmethod
    def of(cls, parts: Iterable[Added], classes: int) -> Strangers | None:
        """Work it out; None where they are too few or too alike.

        The covariance S is within classes, shrunk towards a multiple of the identity as Ledoit and Wolf (2004) advise:

            (1 - s) S + s m I,  m = tr S / K,  s = (sum_i |x_i|^4 - E |S|^2) / (E^2 |S - m I|^2).

        Args:
            parts: what they add.
            classes: C.
        """
        held = list(parts)
        of = np.concatenate([part.classes for part in held])
        added, shares = np.concatenate([part.sums for part in held]), np.concatenate([part.shares for part in held])
        sizes = np.bincount(of, weights=shares, minlength=classes)
        means = np.zeros((classes, added.shape[1]))
        np.add.at(means, of, added)
        means /= np.maximum(sizes, 1e-300)[:, None]
        centred, entries = added - shares[:, None] * means[of], len(of)
        if not np.isfinite(centred).all() or not centred.any():
            return None
        _, lengths, axes = np.linalg.svd(centred / np.sqrt(entries), full_matrices=False)
        variances = lengths**2
        level, squared = variances.sum() / len(means[0]), np.square(variances).sum()
        spread = squared - len(means[0]) * level**2
        fourth = np.square(np.square(centred).sum(axis=1)).sum()
        share = 1.0
        if spread > 0:
            share = min(1.0, max(LEAST_SHRINKAGE, (fourth / entries - squared) / (entries * spread)))
        unit = entries / sizes.sum()
        return cls(means, sizes, axes, unit * ((1 - share) * variances + share * level), unit * share * level)

    def scores(self, asked: Added, attacked: Sums) -> np.ndarray:
        """The terms (E,) of the scores of people (see the head of this file); NaN where there is no stranger.

        Args:
            asked: what the people add.
            attacked: the sums.
        """
        told = np.full(len(asked.classes), np.nan)
        for c in np.flatnonzero(self.sizes):
            size, noise = attacked.sizes[c], attacked.noise[c] ** 2
            spread = size * (1 + size / self.sizes[c])
            rest = 1 / (spread * self.rest + noise)
            more = 1 / (spread * self.variances + noise) - rest
            of = asked.classes == c
            own, mean, total = asked.sums[of], self.means[c], attacked.sums[c]
            own_in, mean_in, total_in = own @ self.axes.T, self.axes @ mean, self.axes @ total
            of_mean = rest * mean @ mean + more @ mean_in**2
            along = (rest * own @ mean + own_in @ (more * mean_in)) / of_mean if of_mean > 0 else np.zeros(len(own))
            with_total = rest * own @ total + own_in @ (more * total_in)
            explained = rest * mean @ total + more @ (mean_in * total_in)
            length = rest * np.square(own).sum(axis=1) + np.square(own_in) @ more
            told[of] = with_total - along * explained - (length - of_mean * along**2) / 2
        return told


class Tracing(ScoreAttack):
    """Made on the statistics alone; those of few people without noise must give these away."""

    name, display_name, needs, rank = "tracing", "tracing", "set", 67
    knows: ClassVar[tuple[Knowledge, ...]] = ("set", "person", "others", "encoder")
    plain_words = "In the released averages"
    remark = (
        "The tracing attack looks at no image: it asks whether the class statistics that travel with the set lean "
        "towards what a person’s images would have added. Its controls are such statistics without noise, of the "
        "patients of as many random originals as the set has images, and of all patients."
    )

    def applies(self, facts: SetFacts) -> bool:
        """Of a set that carries them."""
        return facts.with_statistics

    def scores(self, signals: Signals) -> tuple[Scores, ...]:
        """Of the statistics that were released; and of these without noise, of few patients and of all."""
        released, groups, people = signals.released, signals.population.corpus.groups, signals.population
        carried, members = released.statistics, people.members
        of_few = members[np.isin(groups[members], groups[signals.search.subjects[1].rows])]
        who: Mapping[Source, np.ndarray] = {"distilled": members, "random": of_few, "raw": members}

        def without_noise(rows: np.ndarray) -> Sums:
            return Sums.without_noise(added_by(rows, groups, released), *carried.sums.shape)

        attacked: Mapping[Source, Sums] = {
            "distilled": Sums.of(carried),
            "random": without_noise(of_few),
            "raw": without_noise(members),
        }
        told = traced(attacked, np.concatenate([members, people.others]), signals)
        if isinstance(told, str):
            return tuple(Scores.impossible(source, told) for source in who)
        return tuple(_scores(source, rows, told[source], signals) for source, rows in who.items())


def traced(attacked: Mapping[Source, Sums], asked: np.ndarray, signals: Signals) -> dict[Source, np.ndarray] | str:
    """Return the scores of people by each of several sums, NaN where there is none; or why there are no scores at all.

    Who the strangers are hangs on nothing that could tell members: held-out people, of other parts than who is asked.
    Scores hang on how many these are. So held-out people and everybody else are dealt out apart, class by class,
    and of a class as many are strangers to each part: one is left out where otherwise there would be one more.

    Args:
        attacked: the sums.
        asked: rows of the corpus, all images of the people about whom is asked.
        signals: of the audit.

    Returns:
        Of every source (N,), by row of the corpus.
    """
    groups, released, held_out = signals.population.corpus.groups, signals.released, signals.search.held_out
    classes, drawn = len(released.statistics.record.class_names), signals.rng("strangers")
    everybody = np.concatenate([asked, held_out])
    told: dict[Source, np.ndarray] = {source: np.full(len(groups), np.nan) for source in attacked}
    for part, others in _dealt(everybody, held_out, groups, released.classes, drawn):
        strangers = Strangers.of(added_by(held_out[np.isin(groups[held_out], others)], groups, released), classes)
        if strangers is None:
            return NO_STRANGERS
        for few in added_by(asked[np.isin(groups[asked], part)], groups, released):
            of, where = np.unique(few.people, return_inverse=True)
            rows = np.flatnonzero(np.isin(groups, of))
            for source, sums in attacked.items():
                with np.errstate(all="ignore"):  # what is not finite is no score
                    terms = strangers.scores(few, sums)
                known, found = np.isfinite(terms), np.zeros((2, len(of)))
                np.add.at(found, (0, where[known]), terms[known])
                np.add.at(found, (1, where[known]), 1)
                scores = np.where(found[1] > 0, found[0], np.nan)
                told[source][rows] = scores[np.searchsorted(of, groups[rows])]
    return told


def _dealt(
    rows: np.ndarray, held_out: np.ndarray, groups: np.ndarray, classes: np.ndarray, drawn: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Give `FOLDS` parts of the people of rows, each with its strangers; a person is of the class of the first row."""
    people, first = np.unique(groups[rows], return_index=True)
    order = drawn.permutation(len(people))
    people, kinds = people[order], 2 * classes[rows[first[order]]] + np.isin(people[order], groups[held_out])
    by_kind = [people[kinds == kind] for kind in np.unique(kinds)]
    usual = [people[kinds == kind] for kind in np.unique(kinds[kinds % 2 == 1])]
    for k in range(FOLDS):
        part = np.concatenate(by_kind)[k::FOLDS]
        strangers = [of[~np.isin(of, part)][: len(of) - -(-len(of) // FOLDS)] for of in usual]
        yield part, drawn.permutation(np.concatenate([*strangers, people[:0]]))[:MOST_STRANGERS]


def _scores(source: Source, members: np.ndarray, told: np.ndarray, signals: Signals) -> Scores:
    """Scores of members and of everybody else, the same for all images of a person."""
    people = signals.population
    rows, groups = np.concatenate([members, people.others]), people.corpus.groups
    if not np.isfinite(told[rows]).any():
        return Scores.impossible(source, NOT_FINITE)
    member = np.arange(len(rows)) < len(members)
    return Scores.asked_once(source, told[rows], member, groups[rows], cells_of(people.corpus, rows))


ATTACKS = (Tracing(),)
