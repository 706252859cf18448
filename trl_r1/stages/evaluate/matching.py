"""Stored evaluations: read, judged again, what a new verdict changed, and which of them a part is compared with."""

from __future__ import annotations

import json
from pathlib import Path

from accelerate import PartialState

from trl_r1.evaluation.benchmark import Evaluation, Graders, is_evaluation, pair
from trl_r1.runs.folder import SUMMARY


NOT_PARTS = {"run.json", "summary.json", "seconds.json"}  # JSON files of a folder that hold no evaluation


def load_parts(place: str) -> dict[str, Evaluation]:
    """The evaluations in a file, or in the folder of a run, by the names of their files.

    Raises:
        ValueError: there is no such place, or no evaluation in it.
    """
    path = Path(place).expanduser()
    if path.is_file():
        return {path.stem: Evaluation.load(path)}
    if not path.is_dir():
        raise ValueError(f"There is no evaluation at {place!r}: neither a file nor a folder.")
    files = sorted(file for file in path.glob("*.json") if file.name not in NOT_PARTS and is_evaluation(file))
    summary = path / SUMMARY
    if summary.is_file():  # the order of the run that made them
        names = list(json.loads(summary.read_text(encoding="utf-8")).get("parts") or {})
        files.sort(key=lambda file: names.index(file.stem) if file.stem in names else len(names))
    if not files:
        raise ValueError(f"The folder {place!r} holds no evaluation that `evaluate` or a training stage has written.")
    return {file.stem: Evaluation.load(file) for file in files}


def check_columns(stored: dict[str, Evaluation], verifier: str | None, place: str | None) -> None:
    """Whether stored answers can be judged again by the verifier that is named.

    Raises:
        ValueError: they were not judged by a reward before, and so their file keeps no columns for one.
    """
    bare = [part for part, one in stored.items() if not any(problem.columns for problem in one.problems)]
    if verifier is not None and bare:
        raise ValueError(
            f"verifier={verifier!r} reads columns of the dataset, and the stored answers {', '.join(bare)} of "
            f"{place} have none: they were compared with gold answers. Sample them again with this verifier."
        )


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
