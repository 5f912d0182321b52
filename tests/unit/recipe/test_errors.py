"""Errors for users: one paragraph with what was seen, what was expected and what to do, and the exit code it means."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import pytest

from medistill.errors import (
    ArtifactError,
    DataError,
    DivergedError,
    MedistillError,
    MemoryShortError,
    RecipeError,
    UsageError,
    WrongDerivativeError,
)


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (UsageError, 2),
        (RecipeError, 2),
        (DataError, 3),
        (ArtifactError, 3),
        (DivergedError, 3),
        (MemoryShortError, 3),
        (WrongDerivativeError, 3),
        (MedistillError, 3),
    ],
)
def test_kinds_and_exit_codes(kind: type[MedistillError], code: int) -> None:
    error = kind("seen", expected="expected", do="do")
    assert error.exit_code == code
    assert isinstance(error, MedistillError)
    assert isinstance(error, ValueError)


@pytest.mark.parametrize("end", ["", "."])
def test_one_paragraph_with_three_parts(end: str) -> None:
    error = DataError(f"folder xray/ is empty{end}", expected=f"image files{end}", do=f"check --data{end}")
    assert str(error) == "folder xray/ is empty. Expected: image files. What to do: check --data."
    assert (error.seen.rstrip("."), error.do.rstrip(".")) == ("folder xray/ is empty", "check --data")


def _refuse(what: str) -> None:
    raise DataError(what, expected="expected", do="do")


def test_an_error_of_a_worker_process_arrives_whole() -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        with pytest.raises(DataError) as caught:
            pool.submit(_refuse, "seen.").result(timeout=60)
        assert str(caught.value) == "seen. Expected: expected. What to do: do."
        assert (caught.value.seen, caught.value.expected, caught.value.do) == ("seen.", "expected", "do")
        assert pool.submit(abs, -1).result(timeout=60) == 1, "the pool has to outlive the error"
