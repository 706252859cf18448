"""What an evaluation looks like: ROC curves, histograms of scores, and the heat of a query; PNG, and HTML for the heat."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trl_r1.agser.evaluate import Detection
from trl_r1.agser.scorer import Reflection
from trl_r1.evaluation.detection import roc_points
from trl_r1.evaluation.metrics import auroc
from trl_r1.evaluation.pictures import BLUE, COLOURS, ORANGE, canvas, save


def draw_roc(detection: Detection, path: Path) -> Path:
    """One curve per method, at most as many as there are colours; random splits are one faint grey each."""
    axes = canvas("Made-up answers found", "right answers flagged (false positive rate)", 5.6)
    colours = iter(COLOURS * 4)
    for name, method in detection.methods.items():
        chance = name.startswith("random")
        false, true = roc_points(method.values, detection.bad)
        label = f"{name}: {auroc(method.values, detection.bad):.3f}"
        axes.plot(false, true, color="#B0B0B0" if chance else next(colours), linewidth=1 if chance else 2, label=label)
    axes.plot([0, 1], [0, 1], color="#E4E4E4", linewidth=1)
    axes.set_ylabel("made-up answers flagged (true positive rate)")
    return save(axes, path)


def draw_histogram(detection: Detection, path: Path) -> Path:
    """The scores of right and of made-up answers."""
    axes = canvas("AGSER scores", "score", 3.8)
    scores = np.array([found.score for found in detection.reflections])
    bad = np.array(detection.bad)
    bins = np.linspace(scores.min(), scores.max() + 1e-9, 25)
    axes.hist(scores[~bad], bins=bins, color=BLUE, alpha=0.6, label="right")
    axes.hist(scores[bad], bins=bins, color=ORANGE, alpha=0.6, label="made up")
    axes.set_ylabel("answers")
    return save(axes, path)


def draw_heat(found: Reflection, path: Path, most: int = 60) -> Path:
    """The contributions of a query's first tokens as bars; attentive ones in colour."""
    tokens, scores = found.contributions.tokens[:most], found.contributions.scores[:most]
    kept = [*found.kept, *[False] * len(tokens)]
    axes = canvas("What the answer rested on", "contribution", 0.24 * len(tokens) + 1.6)
    axes.barh(range(len(tokens)), scores, color=[BLUE if kept[i] else "#B0B0B0" for i in range(len(tokens))])
    shown = ["".join(c if c.isprintable() else "·" for c in token).replace("$", r"\$") for token in tokens]
    axes.set_yticks(range(len(tokens)), shown, fontsize=8)
    axes.invert_yaxis()
    return save(axes, path)


def heat_html(results: Sequence[Reflection]) -> str:
    """A page with every query's tokens on a ground as dark as their contribution; attentive tokens are underlined.

    Model text is escaped; the page runs no script and loads nothing.
    """
    parts = [
        '<!doctype html><meta charset="utf-8"><title>AGSER</title>',
        "<style>body{font:16px/1.9 sans-serif;max-width:52em;margin:2em auto;color:#333}"
        "span{border-radius:.2em;padding:.1em 0}.kept{border-bottom:2px solid #0072B2}"
        "dl{display:grid;grid-template-columns:max-content 1fr;gap:0 1em;font-size:14px;line-height:1.5}"
        "dt{color:#777}dd{margin:0;white-space:pre-wrap}</style>",
    ]
    for found in results:
        scores = found.contributions.scores
        top = max(scores, default=0.0) or 1.0
        kept = [*found.kept, *[False] * len(scores)]
        tokens = "".join(
            f'<span class="{"kept" if kept[i] else "rest"}" style="background:rgba(0,114,178,{0.6 * score / top:.3f})" '
            f'title="{score:.4g}">{html.escape(token)}</span>'
            for i, (token, score) in enumerate(zip(found.contributions.tokens, scores, strict=True))
        )
        told = {
            "score": found.refused or f"{found.score:.3f} (r_att {found.r_att:.3f}, r_non {found.r_non:.3f})",
            "answer": found.answer,
            "attentive": f"{found.attentive} → {found.attentive_answer}",
            "others": f"{found.non_attentive} → {found.non_attentive_answer}",
        }
        listed = "".join(f"<dt>{name}</dt><dd>{html.escape(text)}</dd>" for name, text in told.items())
        parts.append(f"<p>{tokens}</p><dl>{listed}</dl><hr>")
    return "\n".join(parts) + "\n"
