"""A page that shows how something is added, carried out as it is printed, in a copy of the source tree.

Blocks of a page are taken in their order. What a block is, its fence says:

- a title is the path of a file: the block is the whole of it, or where the language is ``diff`` what changes in it;
- ``bash`` is run, and has to succeed;
- ``text`` after it is what it prints: every line has to be there, in that order, others may lie between.

A diff has no line numbers, since these change with every commit. Each of its hunks, begun by ``@@``, has to fit one
place of the file and no other.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

COPIED = ("medistill", "cli", "recipes", "tests", "pyproject.toml")
"""What of a source tree a page may change or run."""
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A block of code in a page.

    Attributes:
        language: what the fence says.
        title: path of the file that it is, or changes, from the root of the tree; empty where it is none.
        text: its lines.
    """

    language: str
    title: str
    text: str


class PageError(AssertionError):
    """What a page prints does not work as it stands."""


def blocks(page: str) -> list[Block]:
    """Every block of a page in Markdown, in order."""
    return [Block(found[1], found[2] or "", found[3]) for found in BLOCK.finditer(page)]


def copy_tree(root: Path, to: Path) -> None:
    """Copy what a page may change, so that the original stays as it is."""
    for name in COPIED:
        if (root / name).is_dir():
            shutil.copytree(root / name, to / name, ignore=shutil.ignore_patterns(".*"))
        else:
            to.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, to / name)


def carry_out(page: str, tree: Path) -> list[str]:
    """Write, change and run what a page prints, in a copy of the source tree.

    Args:
        page: in Markdown.
        tree: the copy. Commands are run in it.

    Returns:
        What each command printed.

    Raises:
        PageError: a file is there already, a change does not fit, or a command fails or prints something else.
    """
    printed: list[str] = []
    for block in blocks(page):
        if block.title:
            write_files([block], tree)
        elif block.language == "bash":
            printed.append(_run(block.text, tree))
        elif block.language == "text" and printed:
            _compare(block.text, printed[-1])
    return printed


def write_files(titled: Iterable[Block], tree: Path) -> None:
    """Write the files that blocks are, and change those that they change.

    Raises:
        PageError: a file is there already, or a change does not fit.
    """
    for block in titled:
        if block.language == "diff":
            change(tree / block.title, block.text)
        else:
            _write(tree / block.title, block.text)


def _write(path: Path, text: str) -> None:
    if path.exists():
        raise PageError(f"{path.name} is there already: the page should show what changes in it")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def change(path: Path, diff: str) -> None:
    """Apply a diff without line numbers to a file.

    Raises:
        PageError: a hunk fits no place of the file, or more than one.
    """
    text = path.read_text(encoding="utf-8")
    for before, after in _hunks(diff):
        places = len(re.findall(rf"^{re.escape(before)}", text, re.MULTILINE))
        if places != 1:
            raise PageError(f"{path.name} has {places} places, not one, that read\n{before}")
        text = re.sub(rf"^{re.escape(before)}", lambda _, new=after: new, text, flags=re.MULTILINE)
    path.write_text(text, encoding="utf-8")


def _hunks(diff: str) -> Iterator[tuple[str, str]]:
    """Lines before and after, of every hunk."""
    for hunk in re.split(r"^@@.*\n", diff, flags=re.MULTILINE):
        lines = [line or " " for line in hunk.splitlines()]  # an empty line may have lost its blank
        before = "".join(f"{line[1:]}\n" for line in lines if line[0] in " -")
        after = "".join(f"{line[1:]}\n" for line in lines if line[0] in " +")
        if lines:
            yield before, after


def _run(commands: str, tree: Path) -> str:
    """Run commands as a contributor would, with the copy in place of what is installed."""
    programs = Path(sys.executable).parent
    done = subprocess.run(
        ["bash", "-e", "-c", commands],
        cwd=tree,
        env={
            **os.environ,
            "PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', '')}",
            "PYTHONPATH": f"{tree}{os.pathsep}{tree / 'cli'}",
            "COLUMNS": "120",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise PageError(f"exit code {done.returncode} of\n{commands}\n{done.stdout}\n{done.stderr}")
    return done.stdout + done.stderr


def _compare(promised: str, printed: str) -> None:
    """Look for every promised line, however it is indented and wherever it is wrapped."""
    there, at = " ".join(printed.split()), 0
    for line in promised.splitlines():
        words = " ".join(line.split())
        found = there.find(words, at)
        if found < 0:
            raise PageError(f"the page promises\n{line}\nand this is printed:\n{printed}")
        at = found + len(words)
