"""What the figures share: ink, a palette for every kind of colour vision, and files of the same bytes each time.

Colours are written as hexadecimal numbers that occur for nothing else; the page replaces them by its own variables,
so that figures follow its dark and its light scheme. Palette: Okabe and Ito, without yellow and black.
"""

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, MUTED, RULE, PAPER = "#1b1f24", "#5b6570", "#d8dde3", "#fffffe"
ACCENT, FAINT = "#0a5cad", "#8a949e"
Dash = Literal["-", "--", "-.", ":"]
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#6f4c9b", "#7a5c3e")
DASHES: tuple[Dash, ...] = ("-", "--", "-.", ":")
VARIABLES = {
    INK: "--ink", MUTED: "--muted", RULE: "--rule", PAPER: "--paper", ACCENT: "--accent", FAINT: "--faint",
    **{colour: f"--series-{number}" for number, colour in enumerate(PALETTE)},
}  # fmt: skip
SETTINGS: dict[Any, Any] = {
    "svg.hashsalt": "speechbias",  # otherwise the ids of an SVG are random
    "svg.fonttype": "none",  # text stays text: it can be read out, searched and selected
    "pdf.fonttype": 42,
    "font.family": ["DejaVu Sans"],  # comes with matplotlib
    "font.size": 9,
    "text.color": INK,
    "text.parse_math": False,  # a dollar in a name is a dollar
    "axes.labelcolor": INK,
    "axes.edgecolor": RULE,
    "axes.facecolor": PAPER,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 9,
    "axes.labelsize": 9,
    "legend.frameon": False,
    "legend.fontsize": 9,
}


@contextmanager
def drawing() -> Iterator[None]:
    """Draw and save within this context: the settings above, and no warning for letters that the font lacks."""
    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()
        mpl.rcParams.update(SETTINGS)
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from", category=UserWarning)
        yield


def save(figure: Figure, *, title: str, kinds: Sequence[str] = ("svg", "pdf")) -> dict[str, bytes]:
    """Return the figure as ``{"svg": bytes, "pdf": bytes}``, without dates and without names of programs."""
    made = {}
    metadata: dict[str, dict[str, str | None]] = {
        "png": {"Software": None, "Title": title},
        "svg": {"Date": None, "Creator": None, "Title": title},
        "pdf": {"CreationDate": None, "Creator": None, "Producer": None, "Title": title},
    }
    for kind in kinds:
        file = BytesIO()
        figure.savefig(file, format=kind, metadata=metadata[kind], dpi=200)
        made[kind] = file.getvalue()
    return made


def reference_lines(axes: Axes, *, vertical: bool) -> None:
    """Zero, and lightly the paper's bounds of small, medium and large on both sides."""
    draw = axes.axvline if vertical else axes.axhline
    for bound in (0.2, 0.5, 0.8):
        for value in (-bound, bound):
            draw(value, color=RULE, linewidth=0.7, zorder=0)
    draw(0, color=MUTED, linewidth=0.9, zorder=0.5)


def minus(text: str) -> str:
    """A true minus, as figures have it."""
    return text.replace("-", "\N{MINUS SIGN}")


def inline(svg: bytes, *, name: str, label: str) -> str:
    """Return the SVG for a page: ids of its own, the page's colours, read out as ``label`` (already escaped)."""
    text = svg.decode("utf-8")
    text = text[text.index("<svg") :]
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"\s*<title>.*?</title>", "", text, flags=re.DOTALL)
    text = re.sub(r'(\bid="|xlink:href="#|url\(#)', rf"\g<1>{name}-", text)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    width = float(text.split('width="', 1)[1].split("pt", 1)[0]) / 72  # inches, of 96 px on a page
    opening = f'<svg role="img" aria-label="{label}" style="max-width: {96 * width:.0f}px"'
    return text.replace("<svg", opening, 1)
