"""Inline SVG: a matplotlib figure as a piece of HTML that follows the page's colours and is the same on every run."""

from __future__ import annotations

import html
import io
import re
import warnings

import matplotlib as mpl
from matplotlib.figure import Figure

from medistill.report.palette import INK_NAMES

_SETTINGS = {
    "svg.hashsalt": "medistill",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "mathtext.default": "regular",
    "axes.unicode_minus": True,
}
_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


def inline_svg(figure: Figure, name: str, description: str) -> str:
    """The figure as an ``<svg role="img">`` without scripts, addresses or fixed size.

    Args:
        figure: drawn with the inks of the palette.
        name: letters, digits and hyphens; makes the ids in it unique on the page.
        description: what a person who cannot see it is told.
    """
    buffer = io.StringIO()
    with mpl.rc_context(_SETTINGS), warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="Glyph"
        )  # letters are drawn by the reader's fonts, not by matplotlib's
        figure.savefig(buffer, format="svg", metadata=_NO_METADATA, transparent=True)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    head, _, body = text.partition(">")
    box = re.search(r'viewBox="[^"]*"', head)
    if box is None:
        raise RuntimeError("matplotlib wrote an SVG without a viewBox")
    width = figure.get_size_inches()[0] * 72
    body = re.sub(r'id="([^"]+)"', rf'id="{name}-\1"', body)
    body = re.sub(r'xlink:href="#([^"]+)"', rf'href="#{name}-\1"', body)
    body = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", body)
    for mark, ink in INK_NAMES.items():
        body = body.replace(mark, f"var(--{ink})")
    body = re.sub(r"<style.*?</style>", "", body, flags=re.DOTALL)
    body = re.sub(r"font-family: [^;\"]*", "font-family: var(--sans)", body)
    body = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font: \1px var(--sans)", body)
    body = re.sub(r"\s*\n\s*", "\n", body)
    label = html.escape(description, quote=True)
    return f'<svg {box.group(0)} role="img" aria-label="{label}" style="max-width: {1.6 * width:.0f}px">{body.strip()}'
