"""Evaluations beside earlier ones: what a new verdict changed, and which earlier evaluation a part is compared with."""

from __future__ import annotations

from pathlib import Path

from accelerate import PartialState

from trl_r1.evaluation.benchmark import Evaluation, Graders, pair


def regrade_notes(before: dict[str, Evaluation], after: dict[str, Evaluation], source: str) -> list[str]:
    """How many verdicts changed, per part."""
    notes = [f"The stored answers of `{source}` judged again; nothing was generated."]
    for part, old in before.items():
        pairs = list(zip(old.problems, after[part].problems, strict=True))
        samples = [both for one, two in pairs for both in zip(one.samples, two.samples, strict=True)]
        changed, total = sum(a.correct != b.correct for a, b in samples), len(samples)
        notes.append(f"- {part}: {changed} of {total} verdicts changed.")
    return notes


def match_earlier(earlier: dict[str, Evaluation], parts: dict[str, Evaluation]) -> dict[str, Evaluation]:
    """For every part the earlier evaluation of its name, or else the one that holds most of its problems."""
    matches = {}
    for part, run in parts.items():
        by_name = earlier.get(part)
        if by_name is not None and pair(by_name, run):
            matches[part] = by_name
            continue
        shared = {name: len(pair(other, run)) for name, other in earlier.items()}
        best = max(shared, key=lambda name: shared[name], default=None)
        if best is not None and shared[best]:
            matches[part] = earlier[best]
    return matches


def judge_again(
    stored: dict[str, Evaluation], graders: Graders, folder: Path, state: PartialState
) -> dict[str, Evaluation]:
    """The stored answers under the graders of this run."""
    parts = {}
    for part, old in stored.items():
        path = folder / f"{part}.json"
        if not path.is_file() and state.is_main_process:
            fresh = old.regrade(graders)
            fresh.settings.pop("verifier", None)
            fresh.settings |= {**graders.settings, "regraded": True}
            fresh.save(path)
        state.wait_for_everyone()
        parts[part] = Evaluation.load(path)
    return parts
