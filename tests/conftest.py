"""What tests share: real data where it is there, a private cache for each test, and no network."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from medistill.artifacts.corpus import Corpus
from medistill.data.phantom import write_phantom
from medistill.recipe import Recipe, load_recipe
from tests.factories.once import once
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


@pytest.fixture(scope="session", autouse=True)
def one_decoder() -> Iterator[None]:
    """One process that decodes for each that tests, where nothing else is asked for: starting one takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("medistill.data.decoding.cores", lambda: 1)
        yield


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of this session that all its processes share."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "made-once"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def phantom_folder(made_once: Path) -> Path:
    """A small phantom corpus: 30 invented patients, 64 pixels. Read it, and change a copy."""
    return once(made_once / "phantom", lambda place: write_phantom(place / "xray", patients=30, size=64)) / "xray"


@pytest.fixture(scope="session")
def tiny_recipe() -> Recipe:
    """The demo recipe, cut down until the whole chain takes seconds."""
    return load_recipe("demo", [*TINY, "distill.ipc=2"])


@pytest.fixture(scope="session")
def phantom_read(
    made_once: Path, phantom_folder: Path, tiny_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A cache in which the small phantom corpus is read. Copy it: no test works in this one."""
    from medistill.workflow.prepare import prepare

    def read(place: Path) -> None:
        own = tmp_path_factory.mktemp("reading")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MEDISTILL_CACHE", str(own))
            prepare(phantom_folder, tiny_recipe)
        for kind in ("sources", "corpora"):
            shutil.copytree(own / kind, place / kind)

    return once(made_once / "phantom-read", read)


@pytest.fixture
def phantom_corpus(phantom_folder: Path, phantom_read: Path, tiny_recipe: Recipe, private_cache: Path) -> Corpus:
    """The small phantom corpus, read into this test's own cache."""
    from medistill.workflow.prepare import prepare

    shutil.copytree(phantom_read, private_cache, dirs_exist_ok=True)
    return prepare(phantom_folder, tiny_recipe)
