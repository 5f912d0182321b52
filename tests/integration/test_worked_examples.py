"""The pages that show how something is added: each is carried out as it is printed, in a copy of the source tree."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.worked_example import PageError, blocks, carry_out, change, copy_tree, write_files

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs" / "contributing").glob("add-*.md"))


@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_works_as_it_is_printed(page: Path, tmp_path: Path) -> None:
    copy_tree(ROOT, tmp_path)
    assert carry_out(page.read_text(encoding="utf-8"), tmp_path), "a page runs something"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_a_page_writes_keeps_to_the_house_s_style(page: Path, tmp_path: Path) -> None:
    pytest.importorskip("ruff", reason="the check extra is not installed")
    copy_tree(ROOT, tmp_path)
    written = [block for block in blocks(page.read_text(encoding="utf-8")) if block.title]
    write_files(written, tmp_path)
    files = sorted({block.title for block in written if block.title.endswith(".py")})
    for command in (["check"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--no-cache", *files]
        found = subprocess.run(ruff, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_no_block_of_a_page_is_passed_over(page: Path) -> None:
    """A block is a file, a change, a command or what it prints; an example that nothing tries would go stale."""
    text = page.read_text(encoding="utf-8")
    assert len(blocks(text)) == text.count("```") // 2
    assert [block for block in blocks(text) if not block.title and block.language not in ("bash", "text")] == []


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "names.py").write_text("NAMES = [\n    'a',\n]\nMORE = [\n    'a',\n]\n", encoding="utf-8")
    return tmp_path


def test_a_change_fits_one_place_or_is_refused(tree: Path) -> None:
    change(tree / "names.py", " NAMES = [\n     'a',\n+    'b',\n ]\n@@\n-MORE = [\n+FURTHER = [\n")
    assert (tree / "names.py").read_text() == "NAMES = [\n    'a',\n    'b',\n]\nFURTHER = [\n    'a',\n]\n"
    with pytest.raises(PageError, match="2 places"):
        change(tree / "names.py", "-    'a',\n+    'c',\n")
    with pytest.raises(PageError, match="0 places"):
        change(tree / "names.py", "-    'gone',\n")


@pytest.mark.parametrize(
    ("page", "why"),
    [
        ('```python title="names.py"\nNAMES = []\n```\n', "there already"),
        ("```bash\ncat nothing.txt\n```\n", "exit code 1"),
        ("```bash\necho one; echo two\n```\n\n```text\ntwo\none\n```\n", "promises"),
    ],
)
def test_a_page_that_does_not_work_is_found(tree: Path, page: str, why: str) -> None:
    with pytest.raises(PageError, match=why):
        carry_out(page, tree)


def test_what_is_printed_may_have_more_lines(tree: Path) -> None:
    page = "```bash\necho one; echo between; echo 'two   words'\n```\n\n```text\none\n  two words\n```\n"
    assert carry_out(page, tree) == ["one\nbetween\ntwo   words\n"]
