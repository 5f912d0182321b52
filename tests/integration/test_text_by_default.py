"""Burnt-in text where nobody asked: names and banners are painted over before an image is made small, or it is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medistill.artifacts.corpus import Corpus
from medistill.data import burnt_in_text, text_policy
from medistill.progress import Silent
from medistill.recipe import DataRecipe, Recipe
from medistill.workflow.built_in_corpus import built_in_corpus
from medistill.workflow.prepare import prepare
from tests.factories.burnt_in import needs_reader
from tests.factories.burnt_in_corpus import BANNER, write_banner, write_names
from tests.factories.heard import Heard

SIZE = 128


def few(write: Callable[..., list[Path]], folder: Path) -> Path:
    """24 of a corpus' files: this process reads them all."""
    for file in write(folder, patients=12, size=256)[::3]:
        file.unlink()
    return folder


def recipe(**settings: object) -> Recipe:
    return Recipe(data=DataRecipe(image_size=SIZE, **settings))


def letters_read(picture: np.ndarray) -> str:
    """What a reader finds in a picture (H, W) that is shown large; it knows nothing of our masks."""
    from rapidocr import RapidOCR

    large = np.kron(picture, np.ones((6, 6), np.uint8))
    read = RapidOCR(params={"Global.log_level": "critical"})(np.repeat(large[..., None], 3, axis=2))
    return "".join(read.txts or ()).upper().replace(" ", "")


def brightness(corpus: Corpus) -> np.ndarray:
    """(H, W): mean over the top quarter's images, where the letters were drawn."""
    return np.asarray(corpus.images[:, 0, : SIZE // 4], np.float32).mean(axis=0)


@needs_reader
def test_a_banner_stands_in_the_mean_image_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same command again, once the reader is there, reads the files again."""
    folder = few(write_banner, tmp_path / "xray")
    with monkeypatch.context() as without:
        without.setattr(text_policy, "reader_name", lambda: None)
        unchecked = prepare(folder, recipe())
    default = prepare(folder, recipe())
    assert (unchecked.text_check, default.text_check.policy) == (None, "mask")
    assert default.text_masked == len(default.labels) == len(unchecked.labels)
    assert default.content != unchecked.content
    assert default.content == prepare(folder, recipe(burnt_in_text="mask")).content
    means = [corpus.images[:, 0].mean(axis=0).astype(np.uint8) for corpus in (unchecked, default)]
    banner = BANNER.upper().replace(" ", "").split("HOSP")[0][-5:]
    assert banner in letters_read(means[0])
    assert banner not in letters_read(means[1])


@needs_reader
def test_each_name_is_painted_over(tmp_path: Path) -> None:
    folder = few(write_names, tmp_path / "xray")
    unchecked, default = prepare(folder, recipe(burnt_in_text="unchecked")), prepare(folder, recipe())
    assert default.text_masked == len(default.labels)
    assert brightness(default).max() < 0.8 * brightness(unchecked).max()


def test_without_the_reader_the_run_goes_on_and_says_what_it_means(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = few(write_names, tmp_path / "xray")
    monkeypatch.setattr(text_policy, "reader_name", lambda: None)
    monkeypatch.setattr(burnt_in_text, "reader_name", lambda: None)
    first, again, small = Heard(), Heard(), Heard()
    corpus = prepare(folder, recipe(), progress=first)
    assert corpus.text_check is None
    prepare(folder, recipe(), progress=again)
    for heard in (first, again):
        assert heard.said[-1].startswith("TEXT IS UNCHECKED: the text reader is not installed.")
        assert "pip install 'medistill[ocr]'" in heard.said[-1]
    prepare(folder, Recipe(data=DataRecipe(image_size=32)), progress=small)
    assert "UNCHECKED" not in " ".join(small.said)


def test_what_medistill_drew_itself_is_taken_without_a_look(
    monkeypatch: pytest.MonkeyPatch, private_cache: Path
) -> None:
    from medistill.workflow import built_in_corpus as built_in

    draw = built_in.write_phantom
    monkeypatch.setattr(built_in, "write_phantom", lambda out, progress: draw(out, patients=12, size=64))
    monkeypatch.setattr(burnt_in_text, "find_text", lambda *_, **__: pytest.fail("somebody looked"))
    heard = Heard()
    corpus = prepare(built_in_corpus(Silent()), Recipe(data=DataRecipe(image_size=64)), workers=1, progress=heard)
    assert corpus.text_check is None
    assert "medistill drew the images" in heard.said[-1]
    assert "UNCHECKED" not in " ".join(heard.said)
