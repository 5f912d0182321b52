r"""Probe: a linear layer on features, fitted to its end.

Multinomial logistic regression with an L2 penalty. Of features x_i (D,), labels y_i (C,) that sum to 1 and weights w_i,
the layer W (C, D), b (C,) that is found is the minimum of

    F(W, b) = sum_i w_i CE(y_i, softmax(W x_i + b)) / sum_i w_i + lambda / 2 ||W||^2

which is convex in both and has one minimum: no random number has a part in it. The bias bears no penalty, as in
scikit-learn's ``LogisticRegression``, whose C is 1 / (lambda N) where all weights are 1. The minimum stays where all
weights are multiplied by one factor.

It is found by L-BFGS (Liu, Nocedal 1989; two loops over the last steps) in float64. Its first approximation of the
inverse Hessian is that of one block for all classes, with p_ic the probabilities where the walk stands,

    M = X^T diag(w_i (1 - sum_c p_ic^2) / (C - 1)) X + lambda I

where the factor is the mean of the curvature of a softmax over the directions that it has. M is factored at the start
and anew every `RENEWED` steps. So the number of steps hardly depends on how unlike the variances of the features are:
tens, where plain L-BFGS takes hundreds. The walk ends where the norm of the gradient under the inverse of M, the root
of twice what Newton's next step would gain of F, is below `SETTLED`.

Of fewer images than features nothing beside their span matters (the representer theorem): with X^T = Q R the layer is
sought in the N coordinates of Q, which takes milliseconds for a distilled set.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import reduce

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from medistill.errors import DataError, DivergedError, UsageError
from medistill.training.images import LabelledImages

SETTLED = 1e-7
"""Norm of the gradient at which a fit has come to its end."""
RENEWED = 25
"""Steps after which the curvature is taken anew."""
MEMORY = 20
"""Steps from which L-BFGS knows the curvature."""
MOST_STEPS = 1000
"""Steps after which a fit is given up."""
LEAST_CURVATURE = 1e-6
"""Of an image, as a share of its weight: images that are told apart with certainty have none."""

AT_ONCE = 32 * 2**20
"""Bytes of features in float64 that are in memory at once: of 1,280 features those of 3,270 images."""


@dataclass(frozen=True)
class ProbeLayer:
    """A fitted layer.

    Attributes:
        weight: float64 (C, D).
        bias: float64 (C,), its mean 0.
    """

    weight: Float[Tensor, "C D"]
    bias: Float[Tensor, " C"]


class Probe:
    """The fit of a probe to some features, whose preparation serves every penalty.

    Many features are read anew, in pieces, whenever they are asked for: they may be mapped from a file.

    Args:
        features: (N, D), of any kind of float; or (M, D), of which ``rows`` says which they are.
        targets: (N, C), probabilities of each class.
        weights: (N,), not negative, some above 0.
        rows: int64 (N,); None where the features are these.

    Raises:
        DivergedError: a feature is not finite.
        DataError: all images have the same features, so that nothing can be told by them.
    """

    def __init__(
        self,
        features: Float[Tensor, "M D"],
        targets: Float[Tensor, "N C"],
        weights: Float[Tensor, " N"],
        rows: Int[Tensor, " N"] | None = None,
    ) -> None:
        self._features, self._rows = features, rows
        count, size = len(targets), features.shape[1]
        self.parts = [slice(0, count)] if 2 * count <= size else pieces(count, size)
        self.targets, self.weights = targets.double(), weights.double() / weights.double().sum()
        whole = self._stored(self.parts[0]).double() if len(self.parts) == 1 else None
        _refuse_useless((self._stored(part) if whole is None else whole for part in self.parts), count)
        if whole is None:
            self.centre = _sum(self.weights[part] @ self._stored(part).double() for part in self.parts)
        else:
            self.centre = self.weights @ whole
        self.basis: Tensor | None = None
        self._whole: Tensor | None = None
        if whole is not None:
            centred = whole - self.centre
            if 2 * len(centred) <= centred.shape[1]:
                self.basis, upper = torch.linalg.qr(centred.T)
                centred = upper.T
            size, self._whole = centred.shape[1], _with_ones(centred)
        self.penalised = self.centre.new_ones(size + 1)
        self.penalised[-1] = 0

    @classmethod
    def of(cls, data: LabelledImages, classes: int) -> Probe:
        """Return the fit to features in place of images.

        Raises:
            UsageError: their labels are values or target vectors.
            DivergedError, DataError: as above.
        """
        return cls(data.pixels, targets_of(data, classes), data.weights, data.rows)

    def fit(self, penalty: float, start: ProbeLayer | None = None) -> ProbeLayer:
        """Return the minimum of F.

        Args:
            penalty: lambda, above 0.
            start: where the walk begins, as the minimum under a penalty that is near; None begins at 0.

        Raises:
            DivergedError: the walk has not come to its end, as where the penalty is too small for float64.
        """
        found = self._walk(penalty, self._coordinates(start))
        inner = found[:-1] if self.basis is None else self.basis @ found[:-1]
        bias = found[-1] - self.centre @ inner
        return ProbeLayer(inner.T.contiguous(), bias - bias.mean())

    def _stored(self, part: slice) -> Tensor:
        """Return some of the features as they are stored, (n, D)."""
        return self._features[part if self._rows is None else self._rows[part]]

    def _designs(self) -> Iterator[tuple[slice, Tensor]]:
        """Return which features come next, and these less their mean and with a 1 for the bias, (n, P + 1). One piece
        lies where the one before it lay."""
        if self._whole is not None:
            yield self.parts[0], self._whole
            return
        room = self.centre.new_ones(len(self.targets[self.parts[0]]), len(self.centre) + 1)
        for part in self.parts:
            stored = self._stored(part)
            design = room[: len(stored)]
            design[:, :-1].copy_(stored).sub_(self.centre)
            yield part, design

    def _coordinates(self, layer: ProbeLayer | None) -> Tensor:
        """Return a layer (P + 1, C) in the coordinates of the walk, of which the last row is the bias."""
        if layer is None:
            return self.targets.new_zeros(len(self.penalised), self.targets.shape[1])
        inner = layer.weight.T if self.basis is None else self.basis.T @ layer.weight.T
        return torch.cat([inner, (layer.bias + layer.weight @ self.centre)[None]])

    def _value(self, layer: Tensor, penalty: float) -> tuple[float, Tensor, Tensor]:
        """Return F, its gradient (P + 1, C), and the probabilities (N, C)."""
        likelihoods, gradients, found = [], [], []
        for part, design in self._designs():
            logs, targets, weights = torch.log_softmax(design @ layer, dim=1), self.targets[part], self.weights[part]
            found.append(logs.exp())
            likelihoods.append(weights @ (targets * logs).sum(dim=1))
            gradients.append(design.T @ (weights[:, None] * (found[-1] - targets)))
        penalised = self.penalised[:, None] * layer
        loss = -_sum(likelihoods) + penalty / 2 * (penalised * layer).sum()
        return float(loss), _sum(gradients) + penalty * penalised, torch.cat(found)

    def _curvature(self, found: Tensor, penalty: float) -> Tensor:
        """Return the Cholesky factor of M where the probabilities are ``found``."""
        share = (1 - found.square().sum(dim=1)) / (found.shape[1] - 1)
        curved = self.weights * share.clamp_min(LEAST_CURVATURE)
        block = _sum((design.T * curved[part]) @ design for part, design in self._designs())
        block.diagonal().add_(penalty * self.penalised)
        return torch.linalg.cholesky(block)

    def _walk(self, penalty: float, layer: Tensor) -> Tensor:
        value, gradient, found = self._value(layer, penalty)
        factor, pairs = self._curvature(found, penalty), deque[tuple[Tensor, Tensor]](maxlen=MEMORY)
        for step in range(1, MOST_STEPS + 1):
            if float((gradient * torch.cholesky_solve(gradient, factor)).sum()) <= SETTLED**2:
                return layer
            direction, taken = _direction(gradient, factor, pairs), 1.0
            slope = float((gradient * direction).sum())
            while True:
                next_layer = layer - taken * direction
                next_value, next_gradient, found = self._value(next_layer, penalty)
                if next_value <= value - 1e-4 * taken * slope + 1e-14 * abs(value):
                    break
                taken /= 2
                if taken < 1e-10:
                    raise _unsettled(penalty, step)
            moved, changed = next_layer - layer, next_gradient - gradient
            if float((moved * changed).sum()) > 0:
                pairs.append((moved, changed))
            layer, value, gradient = next_layer, next_value, next_gradient
            if step % RENEWED == 0:
                factor = self._curvature(found, penalty)
        raise _unsettled(penalty, MOST_STEPS)


def pieces(count: int, width: int) -> list[slice]:
    """Cut ``count`` rows of ``width`` numbers into pieces whose float64 take `AT_ONCE` bytes at most."""
    each = max(1, AT_ONCE // (8 * (width + 1)))
    return [slice(start, start + each) for start in range(0, max(1, count), each)]


def _sum(terms: Iterable[Tensor]) -> Tensor:
    """Return the sum of some tensors, of one that one."""
    return reduce(torch.add, terms)


def _with_ones(features: Tensor) -> Tensor:
    return torch.cat([features, torch.ones_like(features[:, :1])], dim=1)


def targets_of(data: LabelledImages, classes: int) -> Float[Tensor, "N C"]:
    """Return what a probe is fitted to: soft labels, or classes as probabilities of 0 and 1, float64 (N, C).

    Raises:
        UsageError: the labels are values or target vectors, of which a probe knows no probabilities.
    """
    refuse_values(by_values=data.by_values or data.by_targets)
    return F.one_hot(data.labels, classes).double() if data.soft_labels is None else data.soft_labels.double()


def refuse_values(*, by_values: bool) -> None:
    """Refuse labels that are values, of classes or of a teacher.

    Raises:
        UsageError: they are.
    """
    if by_values:
        raise UsageError(
            "a probe for images whose labels are values to be trained on by the squared error",
            expected="labels that are classes or probabilities",
            do="take a network that is trained (--network convnet), or a set of another method",
        )


def _direction(gradient: Tensor, factor: Tensor, pairs: deque[tuple[Tensor, Tensor]]) -> Tensor:
    """Return the gradient under the inverse Hessian that L-BFGS knows (Nocedal, Wright 2006, algorithm 7.4)."""
    direction, shares = gradient, []
    for moved, changed in reversed(pairs):
        shares.append((moved * direction).sum() / (moved * changed).sum())
        direction = direction - shares[-1] * changed
    direction = torch.cholesky_solve(direction, factor)
    for moved, changed in pairs:
        share = (changed * direction).sum() / (moved * changed).sum()
        direction = direction + (shares.pop() - share) * moved
    return direction


def _refuse_useless(features: Iterable[Tensor], images: int) -> None:
    """Refuse features, given in pieces, by which nothing can be told.

    Raises:
        DivergedError: some are not finite.
        DataError: those of all images are the same.
    """
    found = [(some.amax(dim=0), some.amin(dim=0), torch.isfinite(some).all()) for some in features]
    most, least, all_finite = (torch.stack(of) for of in zip(*found, strict=True))
    differ = (most.amax(dim=0) != least.amin(dim=0)).any()
    finite, told_apart = torch.stack([all_finite.all(), differ]).tolist()
    if not finite:
        raise DivergedError(
            "an encoder gives features that are not finite",
            expected="finite features of every image",
            do="use another encoder (medistill encoder list); of a distilled set, see whether its images are finite",
        )
    if images > 1 and not told_apart:
        raise DataError(
            f"the features of all {images} images are the same (constant, of norm 0 about their mean)",
            expected="an encoder that tells images apart, and images that are not all alike",
            do="look at the images (medistill preview), or use another encoder (medistill encoder list)",
        )


def _unsettled(penalty: float, steps: int) -> DivergedError:
    return DivergedError(
        f"the fit of a probe with an L2 penalty of {penalty:.3g} has not come to its end after {steps} steps",
        expected="a penalty that float64 can deal with",
        do="give larger ones (schedule.penalties, schedule.penalty)",
    )


def fit_probe(layer: nn.Linear, data: LabelledImages, penalty: float) -> None:
    """Put the probe of some images into a linear layer; their stages have no part in it, since a fit has no order.

    Args:
        layer: takes features, on the device of ``data``.
        data: features in place of images (`medistill.training.encoded.seen_by`).
        penalty: lambda.

    Raises:
        DataError: all features are the same.
        DivergedError: some are not finite, or the fit does not come to its end.
    """
    load_probe(layer, Probe.of(data, layer.out_features).fit(penalty))


@torch.no_grad()
def load_probe(layer: nn.Linear, found: ProbeLayer) -> None:
    """Put what was found into a linear layer, rounded to its float32."""
    layer.weight.copy_(found.weight)
    layer.bias.copy_(found.bias)
