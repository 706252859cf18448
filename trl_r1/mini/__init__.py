"""The embedded default: a world of verifiable problems, and a small base model built here, without a download."""

from trl_r1.mini.store import is_mini, load_split, resolve_model
from trl_r1.mini.world import PROMPT_TEMPLATE, Problem, draw_problems, gold_chain, gold_reply, split_of


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
