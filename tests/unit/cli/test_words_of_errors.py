"""What a command says when something goes wrong: one paragraph, the right exit code, no quotation of data."""

from __future__ import annotations

import errno
import logging
import warnings
from collections.abc import Iterator

import pytest
import typer
from typer.testing import CliRunner

from medistill.errors import ArtifactError, DataError, DivergedError, MedistillError, RecipeError
from medistill_cli.guard import explain, guarded, quieten
from medistill_cli.options import Debug
from tests.settings_restored import settings_restored


@pytest.fixture(autouse=True)
def _own_settings() -> Iterator[None]:
    with settings_restored():
        yield


def program(error: BaseException) -> typer.Typer:
    app = typer.Typer(pretty_exceptions_enable=False)

    @app.command()
    @guarded
    def fail(debug: Debug = False) -> None:
        """Fail."""
        raise error

    return app


@pytest.mark.parametrize(
    ("kind", "code"), [(MedistillError, 3), (RecipeError, 2), (DataError, 3), (ArtifactError, 3), (DivergedError, 3)]
)
def test_errors_for_users_keep_their_words_and_exit_code(kind: type[MedistillError], code: int) -> None:
    told = CliRunner().invoke(program(kind("one thing", expected="another", do="mend it")), [])
    assert told.exit_code == code
    assert told.stderr == "one thing. Expected: another. What to do: mend it.\n"
    assert told.stdout == ""


def test_an_unforeseen_error_names_its_kind_and_place_but_not_its_words() -> None:
    told = CliRunner().invoke(program(KeyError("Doe^Jane")), [])
    assert told.exit_code == 1
    assert "KeyError" in told.stderr
    assert "test_words_of_errors.py" in told.stderr
    assert "--debug" in told.stderr
    assert "Doe" not in told.stderr
    assert "Traceback" not in told.stderr
    assert told.stderr.count("\n") == 1


def test_debug_shows_the_traceback() -> None:
    told = CliRunner().invoke(program(KeyError("detail")), ["--debug"])
    assert told.exit_code == 1
    assert "Traceback" in told.stderr
    assert "detail" in told.stderr


def test_ctrl_c_in_a_short_command_exits_130() -> None:
    told = CliRunner().invoke(program(KeyboardInterrupt()), [])
    assert told.exit_code == 130


def test_a_full_disk_a_closed_door_and_a_full_memory_say_what_to_do() -> None:
    words, code = explain(OSError(errno.ENOSPC, "No space left on device", "/somewhere/file"))
    assert code == 3
    assert "/somewhere/file" in words
    words, code = explain(PermissionError(errno.EACCES, "Permission denied", "/somewhere/else"))
    assert code == 3
    assert "/somewhere/else cannot be used: Permission denied" in words


@pytest.mark.parametrize(
    ("room", "helps", "useless"),
    [
        ("training.loop", "compute.micro_batch", "bootstrap"),
        ("engine.unroll", "method.syn_steps", "bootstrap"),
        ("data.decoding", "data.image_size", "micro_batch"),
        ("sharing.archive", "the size of the bundle", "micro_batch"),
        ("quantisation.pca", "quantise.components", "micro_batch"),
        ("evaluate.intervals", "evaluate.bootstrap", "micro_batch"),
        ("nowhere", "more memory", "micro_batch"),
    ],
)
def test_advice_on_memory_fits_what_was_done_when_it_ran_out(room: str, helps: str, useless: str) -> None:
    for kind, words in ((MemoryError, ""), (RuntimeError, "DefaultCPUAllocator: can't allocate memory: 9 bytes")):
        with pytest.raises(kind) as raised:
            exec(f"raise {kind.__name__}({words!r})", {"__name__": f"medistill.{room}"})
        told, code = explain(raised.value)
        assert code == 1
        assert helps in told
        assert useless not in told


def test_other_packages_are_kept_off_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings(record=True) as shown:
        quieten(debug=True)
        warnings.warn_explicit("Invalid value for VR DA: '19610314'", UserWarning, "valuerep.py", 1, "pydicom.valuerep")
        logging.getLogger("pydicom").warning("Doe^Jane")
        logging.getLogger("somebody").warning("noise")
    assert shown == []
    out, err = capfd.readouterr()
    assert out == ""
    assert err == ""
