"""The two pictures of the page on architecture: `python docs/maps.py` writes them anew into docs/assets.

The layers are those of the import contract in pyproject.toml, each with the first paragraph of its package. The flow
names the file that owns each artifact, found by its class. Both are as wide as a telephone, take their colour from the
page around them or from the system's light or dark scheme, and say all that they show in words too.
"""

from __future__ import annotations

import ast
import textwrap
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ASSETS = ROOT / "docs" / "assets"
SOURCES = (ROOT, ROOT / "cli")
WIDTH = 360
LINE = 48
"""Letters of the smaller text that fit across the picture."""

STYLE = (
    "svg.map{color:#1f2328;font-family:system-ui,-apple-system,'Segoe UI',Roboto,'Liberation Sans',sans-serif}"
    "@media(prefers-color-scheme:dark){svg.map{color:#e6edf3}}"
    "svg.map text{fill:currentColor;font-size:12px}"
    "svg.map .name{font-size:14px;font-weight:600}"
    "svg.map .verb{font-size:12px;font-style:italic}"
    "svg.map .box{fill:currentColor;fill-opacity:.06;stroke:currentColor;stroke-opacity:.55}"
    "svg.map .private{stroke-dasharray:5 3}"
    "svg.map .way{fill:none;stroke:currentColor;stroke-width:1.5}"
    "svg.map .head{fill:currentColor}"
    "svg.map .dotted{stroke-dasharray:2 3}svg.map .faint{stroke-opacity:.2}"
)


@dataclass(frozen=True)
class Artifact:
    """One of the things that have a type, a format and a file that owns both.

    Attributes:
        name: of its class.
        made_by: the command that makes it; empty where a person does.
        words: what it is.
        lies: where it is kept.
        private: whether it holds what only its owner may see.
    """

    name: str
    made_by: str
    words: str
    lies: str
    private: bool = False


RECIPE = Artifact("Recipe", "init", "every setting of a run", "recipe.toml")
CHAIN = (
    Artifact("Corpus", "prepare", "images by class and patient", "the private cache", private=True),
    Artifact("Trajectories", "experts", "parameters, epoch by epoch", "the private cache", private=True),
    Artifact("DistilledSet", "distill", "a few labelled images a class", "RUN/set"),
    Artifact("Report", "evaluate, audit, report", "worth, and what it gives away", "RUN/report.html, .json, .md"),
)
SHORT_CUTS = (
    ("Corpus", "DistilledSet", "quantised sets need no experts"),
    ("Corpus", "Report", "test patients judge, members are sought"),
)


def layers() -> list[str]:
    """Modules of the import contract, the upper first: each may import what stands below it."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = settings["tool"]["importlinter"]["contracts"]
    return list(contract["layers"])


def source_of(module: str) -> Path:
    """The file of a module, or the ``__init__.py`` of a package."""
    path = Path(*module.split("."))
    found = [
        file
        for root in SOURCES
        for file in (root / path / "__init__.py", root / path.with_suffix(".py"))
        if file.exists()
    ]
    if len(found) != 1:
        raise SystemExit(f"The import contract names {module}, and {len(found)} files are of that name.")
    return found[0]


def purpose_of(module: str) -> str:
    """The first paragraph of a module's docstring."""
    docstring = ast.get_docstring(ast.parse(source_of(module).read_text(encoding="utf-8"))) or ""
    return " ".join(docstring.split("\n\n")[0].replace("`", "").split())


def owner_of(name: str) -> str:
    """The file below medistill/ that defines a class."""
    package = ROOT / "medistill"
    owners = [
        file.relative_to(package).as_posix()
        for file in sorted(package.rglob("*.py"))
        if any(line.startswith((f"class {name}:", f"class {name}(")) for line in file.read_text("utf-8").splitlines())
    ]
    if len(owners) != 1:
        raise SystemExit(f"The class {name} is in {len(owners)} files: {', '.join(owners)}.")
    return owners[0]


def pictures() -> dict[str, str]:
    """Name of each picture -> its SVG."""
    return {"layers.svg": draw_layers(), "artifacts.svg": draw_artifacts()}


def draw_layers() -> str:
    """The layers as a stack, and an arrow that says which way imports point."""
    top, parts, said = 4, [], []
    for module in layers():
        words = purpose_of(module)
        lines = textwrap.wrap(words, LINE)
        height = 26 + 15 * len(lines)
        parts += [_box(30, top, WIDTH - 32, height), text(40, top + 18, module, "name")]
        parts += [text(40, top + 35 + 15 * k, line) for k, line in enumerate(lines)]
        said.append(f"{module}: {words.rstrip('.')}")
        top += height + 6
    parts += _arrow([(14, 8), (14, top - 10)])
    return svg(
        "layers",
        top,
        "The layers of the source, and which way imports point",
        "Each may import those below it, and none above. From the top: " + "; ".join(said) + ".",
        parts,
    )


def draw_artifacts() -> str:
    """The five artifacts: four in a row, each made by commands, and the recipe that every command reads."""
    left, right, step, height = 98, 300, 112, 70
    tops = {artifact.name: 36 + step * k for k, artifact in enumerate(CHAIN)}
    bottom = tops[CHAIN[-1].name] + height
    beside = [*textwrap.wrap(RECIPE.words, 11), "", *_folded(owner_of(RECIPE.name))]
    parts = [_box(1, 36, 76, bottom - 36), text(8, 55, RECIPE.name, "name")]
    parts += [text(8, 72 + 15 * k, line) for k, line in enumerate(beside)]
    parts += [text(left + 16, 12, "a folder of images", "verb")]
    said = [f"{RECIPE.name}, {RECIPE.words}, owned by {owner_of(RECIPE.name)}, is read by every command"]
    for artifact in CHAIN:
        top, owner = tops[artifact.name], owner_of(artifact.name)
        parts += _arrow([(left + 8, max(top - 41, 2)), (left + 8, top - 1)])
        parts += [text(left + 16, top - (9 if top == 36 else 17), f"medistill {artifact.made_by}", "verb")]
        parts += [_box(left, top, right - left, height, "box private" if artifact.private else "box")]
        parts += [text(left + 8, top + 19, artifact.name, "name")]
        lines = [artifact.words, artifact.lies, owner]
        parts += [text(left + 8, top + 35 + 14 * k, line) for k, line in enumerate(lines)]
        parts += _arrow([(77, top + height / 2), (left - 1, top + height / 2)])
        secret = ", private" if artifact.private else ""
        said.append(f"{artifact.name}{secret}: {', in '.join(lines[:2])}, by {artifact.made_by}, owned by {owner}")
    for k, (first, last, words) in enumerate(SHORT_CUTS):
        away, begin, end = right + 14 + 24 * k, tops[first] + 46 - 20 * k, tops[last] + 26
        parts += _arrow([(right, begin), (away, begin), (away, end), (right + 1, end)])
        parts += [_upright(away + 15, (begin + end) / 2, words)]
        said.append(f"from {first} to {last}: {words}")
    title = "The five artifacts, and the commands that make them"
    return svg("artifacts", bottom + 2, title, "; ".join(said) + ".", parts)


def _folded(path: str) -> list[str]:
    """A path in lines that end at its slashes."""
    *folders, name = path.split("/")
    return [*(f"{folder}/" for folder in folders), name]


def svg(name: str, height: float, title: str, description: str, parts: Sequence[str]) -> str:
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="map" role="img" viewBox="0 0 {WIDTH} {height:g}" '
        f'aria-labelledby="{name}-title {name}-description">',
        f'<title id="{name}-title">{escape(title)}</title>',
        f'<desc id="{name}-description">{escape(description)}</desc>',
        f"<style>{STYLE}</style>",
        *parts,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _box(x: float, y: float, width: float, height: float, kind: str = "box") -> str:
    return f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="4"/>'


def text(x: float, y: float, words: str, kind: str = "") -> str:
    return f'<text x="{x:g}" y="{y:g}"{f" class={kind!r}" if kind else ""}>{escape(words)}</text>'.replace("'", '"')


def _upright(x: float, y: float, words: str) -> str:
    turned = f'text-anchor="middle" transform="translate({x:g} {y:g}) rotate(-90)"'
    return f'<text class="verb" {turned}>{escape(words)}</text>'


def _arrow(points: Sequence[tuple[float, float]]) -> list[str]:
    """A line through points, the last stretch of it along an axis, with a head at its end."""
    (x0, y0), (x1, y1) = points[-2:]
    dx, dy = (x1 > x0) - (x1 < x0), (y1 > y0) - (y1 < y0)
    line = " ".join(f"{x:g},{y:g}" for x, y in [*points[:-1], (x1 - 5 * dx, y1 - 5 * dy)])
    side = [(x1 - 8 * dx + 4 * s * dy, y1 - 8 * dy + 4 * s * dx) for s in (1, -1)]
    head = " ".join(f"{x:g},{y:g}" for x, y in [(x1, y1), *side])
    return [f'<polyline class="way" points="{line}"/>', f'<polygon class="head" points="{head}"/>']


if __name__ == "__main__":
    for name, svg in pictures().items():
        (ASSETS / name).write_text(svg, encoding="utf-8")
