"""Pictures: one look for all of them, drawn without a window or global state, each written whole or not at all."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trl_r1.storage.files import replace_file


if TYPE_CHECKING:
    from matplotlib.axes import Axes


# Okabe & Ito's colours: told apart with any kind of colour vision, and in print by their lightness.
BLUE, ORANGE, GREEN, PINK, SKY, RED, BLACK = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#333333",
)
COLOURS = (BLUE, ORANGE, GREEN, PINK, SKY, RED)


def canvas(title: str, axis: str, height: float = 3.8) -> Axes:
    """Quiet axes, 6.4 by ``height`` inches: a light grid below the data, no box. ``axis``: what x is."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, height), dpi=150, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)  # inches
    FigureCanvasAgg(figure)  # no pyplot
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", fontsize=13, fontweight="bold", color=BLACK, pad=10)
    axes.set_xlabel(axis, color=BLACK)
    axes.yaxis.label.set_color(BLACK)
    axes.grid(True, color="#E4E4E4", linewidth=0.8)
    axes.set_axisbelow(True)
    _without_box(axes)
    axes.xaxis.get_major_locator().set_params(integer=True)
    return axes


def second_axis(axes: Axes, label: str) -> Axes:
    """Axes over the same x with a y of their own, named at the right."""
    beside = axes.twinx()
    beside.set_ylabel(label, color=BLACK)
    _without_box(beside)
    return beside


def _without_box(axes: Axes) -> None:
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color("#B0B0B0")
    axes.tick_params(length=0, labelcolor=BLACK, labelsize=10)


def save(axes: Axes, path: Path) -> Path:
    """Finishes the figure that ``axes`` belong to, and writes it as PNG."""
    finish(axes)
    picture = io.BytesIO()
    axes.figure.savefig(picture, format="png", metadata={"Software": None})
    return replace_file(path, picture.getvalue())


def finish(axes: Axes) -> None:
    """One legend for the axes and its twin, below the picture where no line runs through it."""
    figure = axes.figure
    entries = [part.get_legend_handles_labels() for part in figure.axes]
    handles = [handle for found, _ in entries for handle in found]
    labels = [label for _, found in entries for label in found]
    if handles:
        columns = len(handles) if sum(map(len, labels)) <= 62 else -(-len(handles) // 2)
        figure.legend(
            handles,
            labels,
            loc="outside lower center",
            ncols=columns,
            frameon=False,
            fontsize=9.5,
            labelcolor=BLACK,
        )
    steps = [x for shown in axes.get_lines() for x in np.atleast_1d(shown.get_xdata())]
    if steps and min(steps) == max(steps):
        axes.set_xlim(steps[0] - 1, steps[0] + 1)
