"""An audit over ranks: networks and shadows come from one queue, and the figures are those of one process."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.errors import DivergedError
from medistill.privacy.audit import Audit
from medistill.ranks.ranks import ALONE, Ranks
from medistill.recipe import Recipe, override_recipe
from medistill.studies.audit.audit import audit
from medistill.workflow import shadows
from tests.factories import audited
from tests.factories.several_ranks import several
from tests.factories.tiny import TINY

RECIPE = override_recipe(
    audited.RECIPE,
    [
        *TINY,
        "network.depth=2",
        "evaluate.bootstrap=100",
        "audit.networks=2",
        "audit.shadows=4",
        "audit.shadow_networks=1",
        "audit.shadow_experts=1",
        "audit.shadow_iterations=2",
    ],
    "the test",
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return audited.corpus(tmp_path_factory.mktemp("corpora"), train=80, held_out=40)


def found(distilled: DistilledSet, corpus: Corpus, out: Path, ranks: Ranks, recipe: Recipe = RECIPE) -> Audit:
    return audit(distilled, corpus, recipe, out=out, device="cpu", ranks=ranks)


def figures(one: Audit) -> dict[str, object]:
    """All that an audit says but what time it took."""
    told = replace(one, seconds=0.0)
    return told.as_json() | {"membership": None} | {"attacks": replace(one.membership, seconds=0.0).as_json()}


def test_one_and_three_ranks_find_the_same(corpus: Corpus, tmp_path: Path, monkeypatch) -> None:
    made, asked = list[tuple[int, str]](), shadows._asked

    def counted(plan, shadow, context, network):
        made.append((shadow, context.out.parts[-3]))
        return asked(plan, shadow, context, network)

    monkeypatch.setattr(shadows, "_asked", counted)
    distilled = audited.from_noise(corpus)
    alone = found(distilled, corpus, tmp_path / "alone", ALONE)
    assert alone.membership is not None
    assert alone.membership.shadows == 4
    together = several(3, lambda ranks: found(distilled, corpus, tmp_path / "three", ranks))
    assert [figures(one) for one in together] == [figures(alone)] * 3
    assert sorted(shadow for shadow, of in made if of == "three") == [0, 1, 2, 3]


def test_of_shadows_that_diverge_the_first_is_named_on_all_ranks_and_the_others_are_kept(
    corpus: Corpus, tmp_path: Path, monkeypatch
) -> None:
    asked = shadows._asked

    def diverging(plan, shadow, context, network):
        if shadow in (1, 3):
            raise DivergedError("loss is NaN", expected="a finite loss", do="lower the rate")
        return asked(plan, shadow, context, network)

    distilled = audited.from_noise(corpus)
    with monkeypatch.context() as patch:
        patch.setattr(shadows, "_asked", diverging)

        def refused(ranks: Ranks) -> str:
            with pytest.raises(DivergedError) as caught:
                found(distilled, corpus, tmp_path, ranks)
            return caught.value.seen

        assert several(2, refused) == ["shadow 2 of 4: loss is NaN"] * 2
    kept = sorted(path.name for path in (tmp_path / "membership").glob("shadow_*.safetensors"))
    assert "shadow_000.safetensors" in kept
    gone_on = found(distilled, corpus, tmp_path, ALONE)
    assert gone_on.membership is not None
    assert gone_on.membership.shadows == 4
