"""What the container files and the page on offline installation name is there; no container engine is needed."""

from __future__ import annotations

import fnmatch
import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
APPTAINER = (ROOT / "apptainer.def").read_text(encoding="utf-8")
PAGE = (ROOT / "docs" / "guide" / "offline.md").read_text(encoding="utf-8")
INDEX = "https://download.pytorch.org/whl/cpu"


def instructions() -> list[tuple[str, str]]:
    """Instructions of the Dockerfile with their words, continued lines joined and comments left out."""
    lines = [line for line in DOCKERFILE.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(line.split()[0], line.partition(" ")[2].strip()) for line in joined.splitlines() if line.strip()]


def last_stage() -> list[tuple[str, str]]:
    found = instructions()
    return found[max(k for k, (word, _) in enumerate(found) if word == "FROM") :]


def sections() -> dict[str, str]:
    """Sections of the Apptainer definition; its header is under the empty name."""
    parts = re.split(r"^%(\w+)\n", APPTAINER, flags=re.MULTILINE)
    return dict(zip(["", *parts[1::2]], parts[::2], strict=True))


def test_both_take_a_python_that_the_package_takes() -> None:
    images = [words.split()[0] for word, words in instructions() if word == "FROM"]
    images += re.findall(r"^From: (\S+)", APPTAINER, re.MULTILINE)
    assert len(images) == 3
    for image in images:
        version = re.fullmatch(r"python:(\d+\.\d+)-slim", image)
        assert version is not None, image
        assert SpecifierSet(PROJECT["requires-python"]).contains(version[1])
        assert f"Programming Language :: Python :: {version[1]}" in PROJECT["classifiers"]


def test_what_is_copied_is_there_and_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    taken = {line[1:] for line in ignored if line.startswith("!")}
    assert "*" in ignored
    copied = set()
    for word, words in instructions():
        if word == "COPY" and not words.startswith("--from"):
            copied |= set(words.split()[:-1])
    assert copied == taken
    of_apptainer = {line.split()[0] for line in sections()["files"].splitlines() if line.strip()}
    assert of_apptainer == copied
    assert all((ROOT / name).exists() for name in copied)
    packages = {"medistill", "cli", "recipes", "README.md", "LICENSE", "pyproject.toml"}  # what hatchling builds from
    assert packages <= copied


def test_it_runs_as_nobody_in_particular_and_by_the_program_of_the_package() -> None:
    found = dict(last_stage())
    user, _, group = found["USER"].partition(":")
    assert int(user) > 0
    assert int(group) > 0
    assert json.loads(found["ENTRYPOINT"]) == ["medistill"]
    assert "medistill" in PROJECT["scripts"]
    assert 'exec medistill "$@"' in sections()["runscript"]
    assert not any(word in ("ADD", "HEALTHCHECK") for word, _ in instructions())


def test_folders_that_are_written_are_volumes_and_known_to_the_program() -> None:
    stage = dict(last_stage())
    volumes = json.loads(stage["VOLUME"])
    settings = dict(word.split("=", 1) for word in shlex.split(stage["ENV"]))
    of_apptainer = dict(re.findall(r"export (\w+)=(\S+)", sections()["environment"]))
    assert settings == of_apptainer
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "medistill").rglob("*.py"))
    for name in ("MEDISTILL_CACHE", "MEDISTILL_KEYS", "MEDISTILL_LEDGER"):
        assert f'environ.get("{name}")' in source
        assert any(settings[name].startswith(volume) for volume in volumes)
    assert settings["MPLCONFIGDIR"].startswith("/tmp/")
    assert settings["LOGNAME"]  # MONAI does not start without it where the user has no name
    assert stage["WORKDIR"] in volumes
    for volume in volumes:
        assert f":{volume}" in PAGE
        assert f"| `{volume}` |" in PAGE
        assert f":{volume}" in sections()["help"]


def test_every_extra_that_is_named_is_one_and_the_ways_name_the_same() -> None:
    (argument,) = [words for word, words in instructions() if word == "ARG" and words.startswith("EXTRAS=")]
    extras = argument.removeprefix("EXTRAS=")
    assert set(extras.split(",")) <= set(PROJECT["optional-dependencies"])
    assert f"'.[{extras}]'" in sections()["post"]
    assert PAGE.count(f"[{extras}]") == 2
    of_users = {"ocr", "dp", "dicom", "dicomweb"}
    assert set(extras.split(",")) == of_users


def test_the_pinned_torch_comes_from_the_index_for_processors() -> None:
    assert re.search(r"^torch==\d+\.\d+\.\d+$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert f"ARG TORCH_INDEX={INDEX}" in DOCKERFILE
    for text in (DOCKERFILE, APPTAINER, PAGE):
        assert INDEX in text
    for line in re.sub(r"\\\n\s*", "", DOCKERFILE + APPTAINER + PAGE).splitlines():
        if re.search(r"pip (install|download)", line) and "--no-deps" not in line:
            assert re.search(r"-c (wheelhouse/)?constraints\.txt", line), line


@pytest.mark.parametrize("extras", ["", "ocr", "ocr,dp,dicom,dicomweb"])
def test_the_image_installs_what_the_package_needs(extras: str, tmp_path: Path) -> None:
    (run,) = [words for word, words in instructions() if word == "RUN" and "needed.txt" in words]
    code = shlex.split(run.partition("> needed.txt")[0].replace("${EXTRAS}", extras))
    assert code[:2] == ["python", "-c"]
    told = subprocess.run([sys.executable, *code[1:]], cwd=ROOT, capture_output=True, text=True, check=True)
    wanted = list(PROJECT["dependencies"])
    for extra in filter(None, extras.split(",")):
        wanted += PROJECT["optional-dependencies"][extra]
    assert [str(Requirement(line)) for line in told.stdout.splitlines()] == [str(Requirement(one)) for one in wanted]


def test_no_data_can_get_into_the_image() -> None:
    patterns = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    for name in ("xray", "runs", "medistill-run", ".git", "tests", "docs", "secret.dcm"):
        kept = True
        for pattern in patterns:
            if pattern and not pattern.startswith("#") and fnmatch.fnmatch(name, pattern.lstrip("!")):
                kept = pattern.startswith("!")
        assert not kept, name


def test_the_commands_of_the_page_are_commands_of_the_program() -> None:
    from tests.every_command import names

    for verb in re.findall(r"medistill(?:\.sif)? (distill|doctor|purge|init)\b", PAGE):
        assert verb in names()
    assert "sha256sum --check --strict" in PAGE
    assert "--no-index" in PAGE
