"""Searches for people: the same whether originals are taken at once or in pieces, in memory or in a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from medistill.artifacts import scratch
from medistill.artifacts.corpus import Corpus
from medistill.privacy import likeness, own_detail
from medistill.privacy.attacks.copies_in_blur import CopiesInBlur
from medistill.privacy.attacks.copies_in_detail import CopiesInDetail
from medistill.privacy.attacks.copies_in_grey_curves import CopiesInGreyCurves
from medistill.privacy.attacks.copies_in_other_poses import CopiesInOtherPoses
from medistill.privacy.attacks.copies_in_parts import CopiesInParts
from medistill.privacy.gathered import gathered
from medistill.privacy.likeness import Originals, likenesses
from medistill.privacy.person_search import PersonSearch
from tests.factories import audited
from tests.factories.audit_signals import signals_of

SEARCHES = (CopiesInDetail, CopiesInBlur, CopiesInGreyCurves, CopiesInOtherPoses, CopiesInParts)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return audited.corpus(tmp_path_factory.mktemp("corpora"), train=60, held_out=50)


@pytest.mark.parametrize("search", SEARCHES)
def test_pieces_change_no_likeness(
    search: type[PersonSearch], corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grey = np.asarray(corpus.images[[3, 70, 8, 90]]) / 255
    signals = signals_of(grey, corpus, audited.RECIPE, tmp_path).search

    def found() -> likeness.Likenesses:
        originals = Originals.of(signals)
        return likenesses(signals.subjects[0], originals, search().ways(originals))

    whole = found()
    monkeypatch.setattr(likeness, "PIECE", 7)
    monkeypatch.setattr(likeness, "LARGEST_BLOCK", 2 * len(corpus.labels))
    monkeypatch.setattr(own_detail, "LARGEST_BLOCK", 500)
    monkeypatch.setattr(scratch, "SMALL", 0)
    parts = found()
    np.testing.assert_allclose(parts.distances, whole.distances, atol=2e-3)
    np.testing.assert_allclose(parts.held_out, whole.held_out, atol=1e-5)
    np.testing.assert_array_equal(parts.rows, whole.rows)


def test_parts_are_gathered_in_their_order() -> None:
    parts = [torch.arange(6.0).view(3, 2), torch.arange(6.0, 8.0).view(1, 2)]
    assert torch.equal(gathered(iter(parts), 4), torch.arange(8.0).view(4, 2))
