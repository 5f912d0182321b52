"""Signals of an audit, each made when the first attack asks for it."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import numpy as np

from medistill.artifacts.corpus import Corpus
from medistill.privacy.copy_search import CopySignals, FeatureSpace
from medistill.privacy.encoder_space import EncoderSpace
from medistill.privacy.initialisation import initial_rows
from medistill.privacy.letters import TextFigures
from medistill.privacy.overlays import SharedPattern
from medistill.privacy.signals import (
    Initialisation,
    NetworkAnswers,
    OneRunSignals,
    Population,
    Released,
    SetFacts,
    ShadowSignals,
)
from medistill.studies.audit.context import AuditContext
from medistill.studies.audit.network_answers import network_answers
from medistill.studies.audit.one_run import one_run_signals
from medistill.studies.audit.shadow_answers import shadow_signals
from medistill.studies.audit.subjects import (
    copy_signals,
    encoder_space,
    feature_space,
    released,
    target_space,
)
from medistill.studies.audit.text import text_figures
from medistill.training.randomness import derive_seed
from medistill.workflow.near_duplicates import HeldOut
from medistill.workflow.pruning import pruned


class AuditSignals:
    """`medistill.privacy.signals.Signals` of a set and its corpus.

    Attributes:
        context: of the audit.
        seconds: what the networks, the shadows and the set made once more took that were asked, of all calls together.
        networks_trained: how many of each source were asked beside those of the shadows.
        shadows_made: how many shadows were asked.
    """

    def __init__(
        self, context: AuditContext, population: Population | None = None, held_out: HeldOut | None = None
    ) -> None:
        self.context, self.seconds, self.networks_trained, self.shadows_made = context, 0.0, 0, 0
        self._population, self._held_out = population, held_out
        self.facts = SetFacts.of(context.distilled, context.corpus, context.spec)
        self.level, self.smallest_cell = context.recipe.evaluate.confidence, context.recipe.evaluate.smallest_cell

    @cached_property
    def held_out(self) -> HeldOut:
        """Whom everything is compared with."""
        return self._held_out or HeldOut.of(self.context.corpus, self.context.progress)

    @cached_property
    def seen(self) -> Corpus:
        """The corpus as the method saw it, without what was pruned."""
        context = self.context
        return pruned(context.corpus, context.recipe, context.spec, context.device, context.progress)

    @cached_property
    def population(self) -> Population:
        """Those about whom is asked: everybody, where nobody was named."""
        return self._population or Population.of(self.context.corpus, self.seen, self.held_out.rows)

    def on(self, context: AuditContext, population: Population) -> AuditSignals:
        """The same of another set, or of some people."""
        return AuditSignals(context, population, self.held_out)

    @cached_property
    def search(self) -> CopySignals:
        """The set, its controls, and both splits of the corpus, as grey values."""
        return copy_signals(self.context, self.held_out.rows)

    @cached_property
    def features(self) -> FeatureSpace:
        """The same as a network sees them that was trained on the originals."""
        return feature_space(self.search, self.context)

    @cached_property
    def encoder_space(self) -> EncoderSpace:
        """The same as the encoder sees them that the set was made for."""
        return encoder_space(self.search, self.context)

    @cached_property
    def target_space(self) -> EncoderSpace:
        """The set's target vectors, and what its teacher sees in everything else."""
        return target_space(self.search, self.context)

    @cached_property
    def released(self) -> Released:
        """The class statistics that travel with the set."""
        return released(self.context)

    @cached_property
    def initialisation(self) -> Initialisation:
        """Which real images the set began as."""
        return initial_rows(self.context.distilled, self.seen)

    @cached_property
    def networks(self) -> tuple[NetworkAnswers, ...]:
        """Answers of networks trained on the set and on each control."""
        told, seconds = network_answers(self.context, self.population)
        self.seconds += seconds
        self.networks_trained = self.context.recipe.audit.networks
        return told

    @cached_property
    def shadows(self) -> ShadowSignals:
        """Answers of networks on shadow distillations, of halves of the patients whom the method saw."""
        told = shadow_signals(replace(self.context, corpus=self.seen))
        self.seconds += told.seconds
        self.shadows_made = 0 if told.reason else self.context.recipe.audit.shadows
        return told

    @cached_property
    def one_run(self) -> OneRunSignals | None:
        """The set made once more, of the patients whom the method saw, but for those whom coins leave out."""
        told = one_run_signals(self)
        self.seconds += 0.0 if told is None else told.seconds
        return told

    @property
    def text(self) -> TextFigures:
        """What was read in the set, and how well the reader sees there."""
        return self._read[0]

    @property
    def patterns(self) -> dict[str, SharedPattern]:
        """Site -> what its training images share, which is for the auditor's eyes."""
        return self._read[1]

    @cached_property
    def _read(self) -> tuple[TextFigures, dict[str, SharedPattern]]:
        return text_figures(self.context)

    def rng(self, *names: str | int) -> np.random.Generator:
        """A generator of its own under these names, from the seed of the recipe."""
        return np.random.default_rng(derive_seed(self.context.recipe.seed, *names))
