"""One-run bound: what the right guesses of an auditor, who tossed a coin for each of m people, say of epsilon.

Whether a person is in is decided by m fair coins. A set is made once. From the set alone the auditor guesses r of the
coins, right in V of them, and leaves the others open (Steinke, Nasr and Jagielski 2023, "Privacy auditing with one (1)
training run", arXiv 2305.08846). If the making is (epsilon, delta)-differentially private for one person more or less,
then with q = e^epsilon / (1 + e^epsilon), for every v,

    P[V >= v] <= P[Bin(r, q) >= v] + (m delta / r) (1 - q) sum_{n=0}^{r-1} max_j P[Bin(n, q) = j].            (*)

The first term is theorem 5.2 of the paper for delta = 0. The second is not the paper's 2 m delta max_i (...) / i, but
ours, for which this is the proof.

1. Average the making over all orders of the people and over swapping in and out of any of them, alike in coins and
   guesses. That changes neither (epsilon, delta) nor the law of V, and leaves a law that knows the number of right
   guesses only. Which r people are guessed is then uniform and says nothing, and coins that are not guessed do not
   matter. A person is guessed with probability r / m, so given whom it is about the making is (epsilon, d)-private in
   the r coins, d = m delta / r.
2. Tell the coins one by one. Given the guesses t and the coins before, let a be the probability that guess i is right,
   p and p' the densities of t under the coin that t names and under the other; a = p / (p + p'). With
   b = max(0, p - e^epsilon p') / (p + p') it is a <= q + (1 - q) b, and the mean of b over t is d at most.
3. Let g_n(k) = P[Bin(n, q) >= k]. With n guesses to come after this one and k right ones lacking, the mean of g_n over
   this one is g_n(k) + a P[Bin(n, q) = k - 1] <= g_{n+1}(k) + (1 - q) b max_j P[Bin(n, q) = j]. Adding up the r steps,
   and taking means over t, gives (*).

With one person guessed, (*) is reached by randomised response. Nothing is asked of the attack but that its guesses
come from the set and from what does not depend on the coins, and that r is fixed before.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

GRID = 128
"""Cells of epsilon that are looked through, largest first, for the one in which the bound is crossed."""
HALVINGS = 40
"""Of that cell."""


def chance_of_right_guesses(right: int, guesses: int, canaries: int, *, epsilon: float, delta: float) -> float:
    """How likely as many right guesses are at most, the right side of (*), under (epsilon, delta)-privacy.

    Args:
        right: v, guesses that are right.
        guesses: r.
        canaries: m, people whose coins were tossed.
        epsilon: at least 0.
        delta: in [0, 1).

    Raises:
        ValueError: no such numbers of guesses can be, or no such epsilon and delta.
    """
    _refuse_impossible(right, guesses, canaries, delta)
    if not 0 <= epsilon < np.inf:
        raise ValueError(f"epsilon is {epsilon!r}; expected: a number from 0 up")
    if right == 0:
        return 1.0
    from scipy.special import betainc, expit  # here, since whoever reads an audit loads this file

    tail = float(betainc(right, guesses - right + 1, expit(epsilon)))
    return min(1.0, tail + delta * canaries / guesses * float(expit(-epsilon)) * _modes(guesses, epsilon))


def epsilon_at_least(right: int, guesses: int, canaries: int, *, delta: float, confidence: float) -> float:
    """The epsilon that the making exceeds, at this delta, with this confidence; 0 where nothing follows.

    Every epsilon under which as many right guesses have a chance below 1 - confidence is refuted, and the largest is
    taken, rounded down by less than 1e-9 of itself. That the bound holds needs no monotone chance: the chance
    of any epsilon that is refuted bounds that of all smaller ones, since what is private with these is so with it.

    Args:
        right: v, guesses that are right.
        guesses: r.
        canaries: m, people whose coins were tossed.
        delta: in [0, 1).
        confidence: such as 0.95, of this one test; of k tests the level of each is (1 - confidence) / k.

    Raises:
        ValueError: no such numbers of guesses can be, or no such delta or confidence.
    """
    _refuse_impossible(right, guesses, canaries, delta)
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence!r}; expected: a number between 0 and 1")
    if right == 0:
        return 0.0
    from scipy.special import betaincinv, logit

    level = 1 - confidence
    largest = float(logit(betaincinv(right, guesses - right + 1, level)))  # what follows at delta = 0
    if largest <= 0:
        return 0.0

    def refuted(epsilon: float) -> bool:
        return chance_of_right_guesses(right, guesses, canaries, epsilon=epsilon, delta=delta) < level

    grid = np.linspace(0, largest, GRID + 1)
    low = next((k for k in reversed(range(GRID)) if refuted(grid[k])), None)
    if low is None:
        return 0.0
    return _crossed(grid[low], grid[low + 1], refuted)


def _crossed(low: float, high: float, refuted: Callable[[float], bool]) -> float:
    """The largest epsilon of a cell that is refuted, from below."""
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if refuted(middle):
            low = middle
        else:
            high = middle
    return float(low)


def _modes(guesses: int, epsilon: float) -> float:
    """``sum_{n=0}^{r-1} max_j P[Bin(n, q) = j]``; the largest probability is that of j = floor((n + 1) q)."""
    from scipy.special import expit, gammaln

    n, q = np.arange(guesses), float(expit(epsilon))
    mode = np.minimum(np.floor((n + 1) * q), n)
    logs = gammaln(n + 1) - gammaln(mode + 1) - gammaln(n - mode + 1)
    logs -= mode * np.logaddexp(0.0, -epsilon) + (n - mode) * np.logaddexp(0.0, epsilon)
    return float(np.exp(logs).sum())


def _refuse_impossible(right: int, guesses: int, canaries: int, delta: float) -> None:
    if not 0 <= right <= guesses <= canaries:
        raise ValueError(
            f"{right} right guesses of {guesses} about {canaries} people; expected: no more right than guessed, and no "
            "more guessed than people"
        )
    if not 0 <= delta < 1:
        raise ValueError(f"delta is {delta!r}; expected: a number from 0 to below 1")
