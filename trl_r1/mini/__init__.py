"""The embedded default: a world of verifiable problems, and a small base model built here, without a download.

Importing this package is cheap, so that `trl-r1 demo` shows a finished result at once: torch loads with the first use.

Belongs here: problems, texts, models and checks that need no download, each drawn from a seed. Not: anything that
only a real model needs. A new kind of problem is one file that draws and writes it, and its entry in ``store.py``;
since the cache's key is a digest of these files, any change here builds the miniatures anew, once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trl_r1.compat.lazy import lazy_exports


if TYPE_CHECKING:
    from trl_r1.mini.store import is_mini as is_mini
    from trl_r1.mini.store import load_split as load_split
    from trl_r1.mini.store import resolve_model as resolve_model
    from trl_r1.mini.world import PROMPT_TEMPLATE as PROMPT_TEMPLATE
    from trl_r1.mini.world import Problem as Problem
    from trl_r1.mini.world import draw_problems as draw_problems
    from trl_r1.mini.world import gold_chain as gold_chain
    from trl_r1.mini.world import gold_reply as gold_reply
    from trl_r1.mini.world import split_of as split_of

_HOME = {  # exported name -> module it lives in
    "PROMPT_TEMPLATE": "trl_r1.mini.world",
    "Problem": "trl_r1.mini.world",
    "draw_problems": "trl_r1.mini.world",
    "gold_chain": "trl_r1.mini.world",
    "gold_reply": "trl_r1.mini.world",
    "is_mini": "trl_r1.mini.store",
    "load_split": "trl_r1.mini.store",
    "resolve_model": "trl_r1.mini.store",
    "split_of": "trl_r1.mini.world",
}
__all__ = [
    "PROMPT_TEMPLATE",
    "Problem",
    "draw_problems",
    "gold_chain",
    "gold_reply",
    "is_mini",
    "load_split",
    "resolve_model",
    "split_of",
]

__getattr__, __dir__ = lazy_exports(__name__, _HOME)
