"""The queue of networks that learn meanwhile: who is in it, what they learn, and the loss in their eyes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from medistill.artifacts.corpus import Corpus
from medistill.engine.checkpoint import load_checkpoint, save_checkpoint
from medistill.engine.coordinates import MomentumSGD
from medistill.engine.labels import HardLabels
from medistill.engine.objectives.class_term import ClassTerm, DrawnTerm
from medistill.engine.objectives.mean_features import MeanFeatures
from medistill.engine.objectives.queued import Queued
from medistill.engine.outer import optimise, step
from medistill.engine.parameterisations.pixels import Pixels
from medistill.engine.problem import DistillationProblem, OuterSettings
from medistill.engine.sources.fresh import FreshNetworks
from medistill.engine.sources.queue import ACCURACY, TENANTS, Queue, QueueSettings
from medistill.engine.state import State
from medistill.networks.registry import build_network
from medistill.progress import Silent
from medistill.recipe import AugmentationRecipe
from medistill.training.images import LabelledImages
from tests.factories.compared import CLASS_OF, CLASSES, CPU, NORMALISATION, SHOWN, SIZE, SPEC, originals, six_images
from tests.factories.drawn_corpus import drawn_corpus

SETTINGS = QueueSettings(
    first=1, most=3, every=2, trained=2, steps=3, batch=7, lr=0.05, momentum=0.9, weight_decay=5e-4
)
ITERATIONS = 12


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return drawn_corpus(Path(tmp_path_factory.mktemp("drawn")) / "corpus", size=SIZE)


def queue(corpus: Corpus, settings: QueueSettings = SETTINGS) -> Queue:
    images = LabelledImages.of_split(corpus, "train", NORMALISATION, CPU)
    parameters = sum(one.numel() for one in build_network(SPEC, torch.Generator()).parameters())
    return Queue(FreshNetworks(SPEC, 0, CPU), images, settings, ITERATIONS, parameters, 0)


def objective(corpus: Corpus, settings: QueueSettings = SETTINGS, weight: float = 0.5) -> Queued:
    networks, augmentation = queue(corpus, settings), AugmentationRecipe()
    features = MeanFeatures(networks, originals(corpus), augmentation, CLASSES, 0)
    return Queued(networks, features, ClassTerm(networks, augmentation, CLASSES, 0), weight)


def problem(asked, path: Path | None = None) -> DistillationProblem:
    return DistillationProblem(
        settings=OuterSettings(iterations=ITERATIONS, checkpoint_every=5),
        objective=asked,
        parameterisation=Pixels(six_images(torch.float32).pixels, MomentumSGD(lr=0.1, momentum=0.5)),
        labels=HardLabels(F.one_hot(CLASS_OF, CLASSES).float()),
        stage=torch.zeros(6, dtype=torch.int64),
        precision="fp32",
        validate=None,
        save=lambda state: save_checkpoint(state, path, {}) if path is not None else None,
    )


def begun(made: DistillationProblem) -> State:
    state = State.start(made.coordinates)
    state.micro_batch = 4
    return state


@pytest.mark.parametrize(("iteration", "present"), [(0, [0, 1]), (1, [0, 1]), (2, [0, 1, 2]), (5, [1, 2, 3])])
def test_it_grows_and_the_oldest_makes_way(iteration, present):
    assert list(SETTINGS.present(iteration)) == present


def test_who_joins_in_a_step_is_the_fresh_network_of_that_step(corpus):
    assert [SETTINGS.joined(number) for number in range(4)] == [(0, 1), (0, 0), (2, 0), (4, 0)]
    made = queue(corpus)
    seen = made.draw(9, SHOWN)
    expected = FreshNetworks(SPEC, 0, CPU).draw(*_drawn(made.seeing(9)))
    assert all(torch.equal(a, b) for a, b in zip(seen.parameters(), expected.parameters(), strict=True))


def _drawn(number: int) -> tuple[int, torch.Tensor, int]:
    iteration, of_step = SETTINGS.joined(number)
    return iteration, SHOWN, of_step


def test_no_more_places_are_kept_than_networks_will_join(corpus):
    assert queue(corpus).places == 3
    assert queue(corpus, replace(SETTINGS, most=100)).places == SETTINGS.present(ITERATIONS - 1).stop == 7
    assert set(queue(corpus).coordinates()) == {"queue_000", "queue_001", "queue_002", TENANTS, ACCURACY}


def test_networks_learn_as_sgd_of_torch_has_it(corpus):
    made = queue(corpus)
    learned = {name: one.start for name, one in made.coordinates().items()}
    for iteration in (0, 1):
        batches = tuple(torch.randperm(36)[:7] for _ in range(3)), iteration
        learned = made.after(learned, ((1, batches[0]),), 3)
        if iteration == 0:
            network = FreshNetworks(SPEC, 0, CPU).draw(0, SHOWN).requires_grad_(True)
            sgd = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
        right = 0
        for rows in batches[0]:
            labels = made.originals.labels[rows]
            logits = network(made.originals.batch(rows))
            right += int((logits.argmax(dim=1) == labels).sum())
            sgd.zero_grad()
            F.cross_entropy(logits, labels).backward()
            sgd.step()
    theta = torch.cat([one.detach().flatten() for one in network.parameters()])
    torch.testing.assert_close(learned["queue_001"][0], theta, rtol=1e-4, atol=1e-6)
    assert learned[TENANTS].tolist() == [0, 2, 0]
    assert float(learned[ACCURACY][1]) == pytest.approx(100 * right / 21)
    assert not learned["queue_000"].any()


def test_a_place_whose_network_made_way_begins_anew(corpus):
    made = queue(corpus)
    learned = {name: one.start for name, one in made.coordinates().items()}
    learned = made.after(learned, made.learning(0), 7)
    old = int(learned[TENANTS][0])
    assert old == 1, "number 0, in its place"
    joining = FreshNetworks(SPEC, 0, CPU).draw(*_drawn(3))  # takes the place of 0
    before = torch.cat([one.flatten() for one in joining.parameters()])
    network, accuracy = made.now(learned, 3, joining)
    assert torch.equal(torch.cat([one.flatten() for one in network.parameters()]), before)
    assert accuracy == 0


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_a_queue_of_one_fresh_network_a_step_is_dm_bit_for_bit(corpus, weight):
    """No network has learned, so the class term counts nothing either."""
    fresh = replace(SETTINGS, most=1, every=1, trained=0)
    mine, theirs = problem(objective(corpus, fresh, weight)), problem(_dm(corpus))
    states = [begun(mine), begun(theirs)]
    for state, made in zip(states, (mine, theirs), strict=True):
        optimise(state, made, Silent())
    assert torch.equal(states[0].values["pixels"], states[1].values["pixels"])
    assert states[0].history.loss == states[1].history.loss


def _dm(corpus: Corpus) -> MeanFeatures:
    return MeanFeatures(FreshNetworks(SPEC, 0, CPU), originals(corpus), AugmentationRecipe(), CLASSES, 0)


def test_the_loss_is_that_of_its_parts_in_the_eyes_of_the_network_as_it_is_now(corpus):
    asked = objective(corpus)
    state = begun(problem(asked))
    for _ in range(6):
        step(state, problem(asked))
    given, iteration = (
        six_images(torch.float32),
        next(
            i
            for i in range(6, 99)
            if int(state.values[TENANTS][asked.queue.seeing(i) % 3]) == asked.queue.seeing(i) + 1
        ),
    )
    drawn = asked.draw(iteration, SHOWN)
    found = asked.evaluate(given, state.values, drawn, 4)
    network, accuracy = asked.queue.now(state.values, drawn.seeing, asked.queue.draw(iteration, SHOWN))
    assert accuracy > 0
    features = replace(drawn.features, network=network)
    distance = asked.features.evaluate(given, {}, features, 4)
    term = asked.term.evaluate(given, {}, DrawnTerm(network, features.augmentation, SHOWN), 4)
    assert found.loss == pytest.approx(distance.loss + 0.5 * accuracy * term.loss)
    torch.testing.assert_close(found.grad_images, distance.grad_images + 0.5 * accuracy * term.grad_images)
    again = asked.evaluate(given, state.values, drawn, 4)
    assert torch.equal(again.grad_images, found.grad_images), "a step may ask twice"
    assert all(torch.equal(again.grad_learned[name], one) for name, one in found.grad_learned.items())


def test_a_resumed_run_ends_in_the_same_bits(corpus, tmp_path):
    made = problem(objective(corpus))
    whole = begun(made)
    optimise(whole, made, Silent())
    assert float(whole.values[ACCURACY].max()) > 0
    path = tmp_path / "checkpoint.safetensors"
    part = begun(made)
    for _ in range(7):
        step(part, problem(objective(corpus)))
    save_checkpoint(part, path, {})
    resumed = State.start(problem(objective(corpus)).coordinates)
    load_checkpoint(resumed, path, lambda origin: None)
    optimise(resumed, problem(objective(corpus)), Silent())
    assert all(torch.equal(one, whole.values[name]) for name, one in resumed.values.items())
    assert resumed.history == whole.history
