"""Download: one official file of a benchmark, checked against its pinned hash before it gets its name."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from medistill.artifacts.atomic import PRIVATE_FILE, private_folder, unwritable
from medistill.data.benchmarks.catalogue import OfficialFile
from medistill.errors import DataError
from medistill.progress import Progress, Task

MEGABYTE = 10**6
PIECE = 2**16
PATIENCE = 60.0
"""Seconds without a byte after which a transfer is given up."""


def download(file: OfficialFile, folder: Path, progress: Progress) -> Path:
    """Fetch a file into ``folder``, made with mode 0700 where it is not there; a whole one there is left as it is.

    Raises:
        DataError: another file has its name; no connection, an error of the server, a broken transfer, or bytes of
            another hash. Nothing is left behind.
        ArtifactError: the folder cannot be written, or the disk is full.
    """
    import pooch
    import requests
    from pooch.hashes import hash_matches

    path = folder / file.name
    if path.is_file():
        if hash_matches(path, file.known_hash):
            progress.say(f"{path} is there already, and whole.")
            return path
        raise DataError(
            f"{path} is not the file that its authors publish (it has {path.stat().st_size} bytes)",
            expected=f"{file.bytes} bytes with {file.known_hash}",
            do="take it away, then repeat the command",
        )
    if not folder.is_dir():
        private_folder(folder)  # one that the user has may be shared with others
    _check_room(file, folder)
    pooch.get_logger().setLevel("WARNING")
    try:
        with progress.task(f"Fetching {file.name} (MB)", max(1, file.bytes // MEGABYTE)) as task:

            def fetch(url: str, arriving: str, mill: pooch.Pooch) -> None:
                bar = _Bar(task, file, Path(arriving))
                pooch.HTTPDownloader(progressbar=bar, chunk_size=PIECE, timeout=PATIENCE)(url, arriving, mill)

            pooch.retrieve(file.url, file.known_hash, fname=file.name, path=folder, downloader=fetch)
    except requests.exceptions.HTTPError as error:
        answer = "with an error" if error.response is None else str(error.response.status_code)
        raise _failed(file, f"the server answered {answer}") from None
    except requests.exceptions.Timeout:
        raise _failed(file, f"nothing came for {PATIENCE:.0f} seconds") from None
    except requests.exceptions.ConnectionError as error:
        why = "the transfer broke off" if "IncompleteRead" in str(error) else "there is no connection to the server"
        raise _failed(file, why) from None
    except requests.exceptions.RequestException:
        raise _failed(file, "the transfer broke off") from None
    except OSError as error:
        raise unwritable(path, error) from error
    except ValueError as error:
        if "does not match" not in str(error):
            raise
        raise _failed(file, f"what came has another hash ({str(error).partition('but got ')[2][:64]})") from None
    os.chmod(path, PRIVATE_FILE)
    return path


def _check_room(file: OfficialFile, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < file.bytes:
        raise DataError(
            f"{folder} has {free // MEGABYTE} MB free",
            expected=f"{file.bytes // MEGABYTE} MB for {file.name}",
            do="free space, or name another folder with --data",
        )


def _failed(file: OfficialFile, why: str) -> DataError:
    return DataError(
        f"{file.url} could not be fetched: {why}",
        expected=f"{file.bytes} bytes with {file.known_hash}",
        do=f"repeat the command; or fetch {file.name} elsewhere and name its folder with --data",
    )


class _Bar:
    """How much of a transfer is there, told in megabytes. Pooch's own count takes every piece for a whole one."""

    def __init__(self, task: Task, file: OfficialFile, arriving: Path) -> None:
        self.task, self.file, self.arriving = task, file, arriving
        self.total, self.told = 0, 0

    def update(self, count: int) -> None:
        """Tell; a safe point, since a transfer that is broken off leaves nothing.

        Raises:
            DataError: more comes than the file has, which would go on until the disk is full.
        """
        there = self.arriving.stat().st_size
        if there > self.file.bytes:
            raise _failed(self.file, "more came than the file has")
        if (whole := there // MEGABYTE) > self.told:
            self.task.advance(whole - self.told)
            self.told = whole

    def reset(self) -> None:
        """Nothing to reset: what was told is what is there."""

    def close(self) -> None:
        """Nothing to close: the task's own block ends it."""
