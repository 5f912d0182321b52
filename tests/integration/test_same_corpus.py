"""A run that goes on with other data, and a set that is tested on images that it may have been made from."""

from __future__ import annotations

import hashlib
import json
import shutil
import stat
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medistill.artifacts.cache import cache_root
from medistill.artifacts.corpus import SPLITS, Corpus, TextCheck
from medistill.artifacts.distilled_set import DistilledSet
from medistill.errors import ArtifactError, DataError, UsageError
from medistill.evaluate.evaluation import load_evaluation
from medistill.recipe import Recipe, load_recipe
from medistill.workflow.distill import distill
from medistill.workflow.evaluate import evaluate
from medistill.workflow.originals import FILE, apart_from_originals, keep_originals, known_originals
from medistill.workflow.run import run
from medistill.workflow.same_corpus import changes
from tests.factories import audited
from tests.factories.flat_corpus import save_flat
from tests.factories.tiny import TINY

RECIPE = load_recipe(
    "demo",
    (
        *(*TINY, "data.image_size=16", "network.depth=2", "method.ipc=2", "method.name=ddoq"),
        *("method.labels=hard", "method.quantise.components=8", "evaluate.arms=['random']"),
    ),
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return audited.corpus(tmp_path_factory.mktemp("corpora"), train=60, held_out=60, per_patient=2)


def saved(folder: Path, of: Corpus, rows: Sequence[int], splits: np.ndarray, **changed: np.ndarray) -> Corpus:
    """Some images of a corpus, split anew."""
    manifest = {row.row: row for row in of.manifest}
    return save_flat(
        folder,
        images=changed.get("images", of.images)[rows],
        labels=changed.get("labels", of.labels)[rows].tolist(),
        groups=of.groups[rows].tolist(),
        sites=of.sites[rows].tolist(),
        splits=splits[rows].tolist(),
        class_names=of.class_names,
        site_names=of.site_names,
        synthetic=False,
        manifest=[replace(manifest[row], row=k) for k, row in enumerate(rows)],
    )


def turned(of: Corpus) -> np.ndarray:
    """Splits as another seed draws them: some test patients were training patients before, most were not."""
    return np.roll(of.splits, 10)


def test_a_run_does_not_go_on_with_other_files(
    phantom_folder: Path, tiny_recipe: Recipe, tmp_path: Path, private_cache: Path
) -> None:
    """The split would be drawn anew, and the set tested on images that it was made from."""
    data, out = tmp_path / "xray", tmp_path / "run"
    shutil.copytree(phantom_folder, data)
    run(tiny_recipe, out=out, data=data, device="cpu")
    shutil.rmtree(out / "evaluation")
    files = sorted(data.rglob("*.dcm"))[:6]
    for file in files:
        file.rename(tmp_path / file.name)
    before = json.loads((out / "run.json").read_text())["corpus"]
    for purged in (False, True):
        if purged:
            shutil.rmtree(cache_root() / "corpora" / before["content"])
        with pytest.raises(UsageError) as refused:
            run(tiny_recipe, out=out, data=data, device="cpu", resume=True)
        count = before["found"]
        said = f"{count} files then, {count - 6} now" if purged else "6 files gone (COVID 6)"
        assert said in refused.value.seen
        assert not any(file.stem in str(refused.value) for file in files)
        assert json.loads((out / "run.json").read_text())["corpus"] == before
    assert not (out / "evaluation").exists()
    for file in files:
        (tmp_path / file.name).rename(file)
    report = run(tiny_recipe, out=out, data=data, device="cpu", resume=True)
    assert report.evaluation.originals == "apart"
    assert report.evaluation.set_digest == DistilledSet.load(out).digest()


def test_what_changed_is_told_in_counts_by_class(corpus: Corpus, tmp_path: Path) -> None:
    images, labels = np.array(corpus.images), corpus.labels.copy()
    images[4] = 255 - images[4]
    labels[7] = 1 - labels[7]
    rows = [row for row in range(120) if row not in (1, 3, 10)]
    moved = corpus.splits.copy()
    moved[20] = SPLITS.index("test")
    now = saved(tmp_path, corpus, rows, moved, images=images, labels=labels)
    said = changes(corpus, now)
    assert said == (
        "3 files gone (Normal 1, Pneumonia 2); 2 files changed (Normal 1, Pneumonia 1); 1 of the same images are in "
        "another split"
    )
    assert "3 files new (Normal 1, Pneumonia 2)" in changes(now, corpus)
    assert "doe" not in said
    read = replace(corpus, text_check=TextCheck(by="a reader 1.0", policy="mask"))
    assert changes(read, corpus) == "burnt-in text was treated as mask, by a reader 1.0 then, as unchecked now"


def test_a_finished_set_is_not_taken_up_with_another_corpus(corpus: Corpus, tmp_path: Path) -> None:
    distill(corpus, None, RECIPE, out=tmp_path / "run", device="cpu")
    other = saved(tmp_path / "other", corpus, range(120), turned(corpus))
    with pytest.raises(UsageError, match="another corpus"):
        distill(other, None, RECIPE, out=tmp_path / "run", device="cpu", resume=True)


def test_originals_are_left_out_of_the_test_on_another_split(corpus: Corpus, tmp_path: Path) -> None:
    made = distill(corpus, None, RECIPE, out=tmp_path / "run", device="cpu")
    other = saved(tmp_path / "other", corpus, range(120), turned(corpus))
    known = known_originals(made, tmp_path / "run")
    assert known is not None
    found = evaluate(made, other, RECIPE, out=tmp_path / "elsewhere", originals=known, device="cpu")
    had_a_part = corpus.splits != SPLITS.index("test")
    clean = [row for row in other.rows("test") if not had_a_part[row]]
    assert 0 < len(clean) < len(other.rows("test"))
    assert found.originals == "left out"
    assert found.test_images == len(clean)
    assert found.left_out == sum(had_a_part[row] for split in ("val", "test") for row in other.rows(split))  # type: ignore[arg-type]
    assert load_evaluation(tmp_path / "elsewhere" / "evaluation" / "evaluation.json") == found
    blind = evaluate(made, other, RECIPE, out=tmp_path / "blind", device="cpu")
    assert (blind.originals, blind.test_images) == ("not known", len(other.rows("test")))


def test_another_image_of_the_same_patient_is_left_out_too(corpus: Corpus, tmp_path: Path) -> None:
    """Of each patient one image had a part; the other is new, and its patient is not."""
    part = saved(tmp_path / "part", corpus, [2 * p + p % 2 for p in range(60)], corpus.splits)
    made = distill(part, None, RECIPE, out=tmp_path / "run", device="cpu")
    everything = saved(tmp_path / "all", corpus, range(120), np.full(120, SPLITS.index("test")))
    apart = apart_from_originals(part.content, everything, RECIPE, known_originals(made, tmp_path / "run"))
    assert set(corpus.groups[apart.corpus.rows("test")]) == set(part.groups[part.rows("test")])
    assert apart.left_out == 2 * int(np.sum(part.splits != SPLITS.index("test")))
    own = apart_from_originals(part.content, part, RECIPE, None)
    assert (own.originals, own.corpus) == ("apart", part)


def test_nothing_is_claimed_where_nothing_can_be_known(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = distill(corpus, None, RECIPE, out=tmp_path / "run", device="cpu")
    other = saved(tmp_path / "other", corpus, range(120), turned(corpus))
    known = known_originals(made, tmp_path / "run")
    content = made.provenance.corpus
    padded = RECIPE.model_copy(update={"data": RECIPE.data.model_copy(update={"fit": "pad"})})
    assert apart_from_originals(content, other, padded, known).originals == "not known"
    assert apart_from_originals(None, other, RECIPE, None).originals == "not known"
    assert known_originals(made, None) is None
    assert known_originals(replace(made, images=made.images + np.float32(1)), tmp_path / "run") is None
    only = saved(tmp_path / "only", corpus, corpus.rows("train").tolist(), np.full(120, SPLITS.index("test")))
    with pytest.raises(DataError, match="were among the set's originals"):
        apart_from_originals(content, only, RECIPE, known)
    same = replace(corpus, content="read with another reader of text")
    with pytest.raises(DataError, match="all 30 validation images were among"):
        evaluate(made, same, RECIPE, out=tmp_path / "same", originals=known, device="cpu")
    monkeypatch.setenv("MEDISTILL_KEYS", str(tmp_path / "another house"))
    assert known_originals(made, tmp_path / "run") is None


def test_what_is_kept_of_the_originals_is_private_and_tells_nothing_without_the_key(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = audited.from_noise(corpus)
    keep_originals(made, corpus, RECIPE, tmp_path)
    held = (tmp_path / FILE).read_bytes()
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    for image in corpus.images:
        assert hashlib.sha256(image.tobytes()).digest()[:8] not in held
    monkeypatch.setenv("MEDISTILL_KEYS", str(tmp_path / "another house"))
    (tmp_path / "other").mkdir()
    keep_originals(made, corpus, RECIPE, tmp_path / "other")
    assert (tmp_path / "other" / FILE).read_bytes()[-16 * 90 :] != held[-16 * 90 :]


def test_digests_of_originals_that_were_damaged_are_not_believed(corpus: Corpus, tmp_path: Path) -> None:
    """One that is wrong would leave its image among the test images, and the report would say that none is there."""
    made = audited.from_noise(corpus)
    keep_originals(made, corpus, RECIPE, tmp_path)
    held = bytearray((tmp_path / FILE).read_bytes())
    held[-1] ^= 1
    (tmp_path / FILE).write_bytes(held)
    with pytest.raises(ArtifactError, match="its checksum does not fit"):
        known_originals(made, tmp_path)
