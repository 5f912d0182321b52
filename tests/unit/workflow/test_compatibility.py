"""Whether what was made fits a corpus and a network, use by use."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from medistill.artifacts.corpus import Corpus
from medistill.errors import DataError, MedistillError, UsageError
from medistill.networks.registry import network_spec
from medistill.recipe import load_recipe
from medistill.workflow.compatibility import MISFITS, MadeOf, refuse_misfit
from tests.factories.drawn_corpus import drawn_corpus, drawn_set

RECIPE = load_recipe("demo", ["data.image_size=16"])
OTHER = {"classes": ("x", "y"), "shape": (1, 8, 8), "corpus": "0" * 64, "network": "alexnet"}
FIELD = {"classes": "class_names", "shape": "shape", "corpus": "corpus", "network": "network"}


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return drawn_corpus(tmp_path)


def fitting(corpus: Corpus) -> MadeOf:
    spec = network_spec(corpus, RECIPE)
    return MadeOf("the set", corpus.class_names, corpus.images.shape[1:], corpus.content, spec.name)


@pytest.mark.parametrize(("use", "aspect"), sorted(MISFITS))
def test_what_fits_is_used_and_what_does_not_refused_with_both_and_a_way_out(
    corpus: Corpus, use: str, aspect: str
) -> None:
    made_of, spec = fitting(corpus), network_spec(corpus, RECIPE)
    refuse_misfit(made_of, corpus, use, spec=spec, where="run")  # type: ignore[arg-type]
    with pytest.raises(MedistillError) as raised:
        refuse_misfit(
            replace(made_of, **{FIELD[aspect]: OTHER[aspect]}),
            corpus,
            use,
            spec=spec,
            where="run",  # type: ignore[arg-type]
        )
    error = raised.value
    assert isinstance(error, DataError if use in ("evaluate", "audit") and aspect != "network" else UsageError)
    assert all((error.seen, error.expected, error.do))
    assert "{" not in f"{error.seen}{error.expected}{error.do}"


def test_a_use_compares_what_it_has_a_line_for_and_nothing_else(corpus: Corpus) -> None:
    of_another, spec = replace(fitting(corpus), network="alexnet"), network_spec(corpus, RECIPE)
    refuse_misfit(replace(of_another, corpus="0" * 64), corpus, "evaluate", spec=spec)
    refuse_misfit(of_another, corpus, "resume", where="run")
    with pytest.raises(UsageError, match="alexnet"):
        refuse_misfit(of_another, corpus, "resume", spec=spec, where="run")


def test_what_is_not_stated_passes_where_a_use_allows_it(corpus: Corpus) -> None:
    unstated, spec = replace(fitting(corpus), corpus=None, network=None), network_spec(corpus, RECIPE)
    refuse_misfit(unstated, corpus, "evaluate", spec=spec)
    with pytest.raises(UsageError, match="made from another corpus"):
        refuse_misfit(unstated, corpus, "resume", spec=spec, where="run")
    refuse_misfit(replace(unstated, corpus=corpus.content), corpus, "resume", spec=spec, where="run")


def test_a_set_says_what_it_was_made_of(corpus: Corpus) -> None:
    known = {"corpus": "c" * 64, "network": "convnet", "text_check": {"policy": "mask", "by": "reader 1"}}
    told = MadeOf.of_set(replace(drawn_set(corpus), provenance=known))
    assert (told.corpus, told.network, told.shape) == ("c" * 64, "convnet", corpus.images.shape[1:])
    assert told.text_check is not None
    assert (told.text_check.policy, told.text_check.by) == ("mask", "reader 1")
