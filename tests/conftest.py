"""What tests share: real data where it is there, a private cache for each test, and no network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from medistill.artifacts.corpus import Corpus
from medistill.data.phantom import write_phantom
from medistill.recipe import Recipe, load_recipe
from tests.factories.tiny import TINY
from tests.loopback_only import REFUSED, refuse_others

refuse_others()
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip("the real images are not on this machine (no ../shared/data)")
    return SHARED


@pytest.fixture(scope="session", autouse=True)
def own_keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keys of the tests' own, so that none makes one in the user's folder."""
    folder = tmp_path_factory.mktemp("keys")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDISTILL_KEYS", str(folder))
        yield folder


@pytest.fixture(autouse=True)
def no_network() -> Iterator[None]:
    """A test that tries to talk to another machine fails, also where the refusal was caught on its way."""
    REFUSED.clear()
    yield
    assert not REFUSED


@pytest.fixture(autouse=True)
def private_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache and a ledger of this test's own, so that none reads what another left, or the user's."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("MEDISTILL_CACHE", str(folder))
    monkeypatch.setenv("MEDISTILL_LEDGER", str(folder.with_name(f"{folder.name}-ledger")))
    return folder


@pytest.fixture(scope="session")
def phantom_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small phantom corpus: 30 invented patients, 64 pixels."""
    folder = tmp_path_factory.mktemp("phantom") / "xray"
    write_phantom(folder, patients=30, size=64)
    return folder


@pytest.fixture(scope="session")
def tiny_recipe() -> Recipe:
    """The demo recipe, cut down until the whole chain takes seconds."""
    return load_recipe("demo", [*TINY, "method.ipc=2"])


@pytest.fixture
def phantom_corpus(phantom_folder: Path, tiny_recipe: Recipe, private_cache: Path) -> Corpus:
    """The small phantom corpus, read."""
    from medistill.workflow.prepare import prepare

    return prepare(phantom_folder, tiny_recipe)
