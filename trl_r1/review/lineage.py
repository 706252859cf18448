"""Lineage: from one answer of a model back to the rows, checkpoints and rewards that led to it.

    open_run(folder)            a stage's run, or all runs of a pipeline
    find(runs, answer)          an answer by its place or by its id
    trace(runs, answer)         the chain of runs behind it, newest first, as plain values

An answer is named by its place, ``sft/evaluation_after/12/3`` (run, evaluation file, problem, sample, from 0), or by its
id, the 16 hex digits every kept sample carries (``data.review.sample_id``: prompt and completion), also shortened.

The chain follows what the runs themselves recorded: a setting that names another run's folder, or a file in it, is an
edge. So it works for a pipeline and for stages started by hand. Which row *caused* an answer nobody can know from this;
the nearest rows by exact prompt and shared word runs are shown, as the likeliest.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from trl_r1.data.review import sample_id
from trl_r1.evaluation.graded import GradedProblem
from trl_r1.review.lineage_steps import step_of
from trl_r1.review.records import ROWS, Answer, Edge, Run, as_text, evaluations
from trl_r1.storage.files import read_json_lines
from trl_r1.text.records import Completion, Json, Origin, Problem, Sample


RUN, PIPELINE = "run.json", "pipeline.json"
PLACE = re.compile(r"(?:(.+)/)?([^/]+)/(\d+)/(\d+)")
NO_CAUSE = (
    "evaluation",
    "compare_with",
    "teacher_run",
    "follow",
    "regrade",
    "decontaminate",
    "reward_list",
)  # beginnings of options
# --- runs and answers


def open_run(folder: str | Path) -> list[Run]:
    """The runs below a folder: a pipeline's stages, or the one run that it is.

    Raises:
        ValueError: there is no run.
    """
    root = Path(folder)
    if (root / RUN).is_file():
        return [read_run(root)]
    runs = [read_run(path.parent) for path in sorted(root.glob(f"*/{RUN}"))]
    if not runs:
        raise ValueError(
            f"{root} is neither a run nor a pipeline's folder: there is no {RUN} in it or one level below."
        )
    if (root / PIPELINE).is_file():
        order = list(json.loads((root / PIPELINE).read_text(encoding="utf-8"))["stages"])
        runs.sort(key=lambda run: order.index(run.name) if run.name in order else len(order))
    return runs


def read_run(folder: Path) -> Run:
    content = json.loads((folder / RUN).read_text(encoding="utf-8"))
    return Run(folder, content["stage"], content.get("settings", {}), content.get("versions", {}))


def answers(run: Run) -> Iterator[Answer]:
    """Every answer of a run: the rows it kept, then its evaluations."""
    for name in ROWS:
        for number, row in enumerate(read_json_lines(run.folder / name)):
            if "completion" in row:
                prompt: Any = row.get("prompt")  # None where a stage's rows have none
                problem = Problem(prompt, row.get("question") or "", row.get("solution"), row.get("language"))
                sample = Sample(problem, Completion(as_text(row["completion"])))
                key = row.get("id") or sample_id(prompt, sample.completion.text)
                yield Answer(key, f"{run.name}/{name}/{number}", run, sample, "kept", row.get("score") or {}, row)
    for name, content in evaluations(run):
        origin = Origin(name, content.get("summary", {}).get("settings", {}).get("model"))
        when = "before" if "before" in name else "after"
        for place, graded in enumerate(map(GradedProblem.of_row, content["problems"])):
            for number, one in enumerate(graded.samples):
                verdict: Json = {"tokens": one.completion.token_count}
                if one.correct is not None:
                    grades = {"right": one.correct, "answer": one.answer, "format": one.well_formed}
                    verdict = grades | {"language": one.consistency} | verdict
                key = sample_id(graded.problem.prompt, one.completion.text)
                sample = Sample(graded.problem, one.completion, origin)
                yield Answer(key, f"{run.name}/{name}/{place}/{number}", run, sample, when, verdict)


def find(runs: Iterable[Run], name: str) -> Answer:
    """The answer of that place or id; of several with one id (the same text again) the latest stage's, after its training.

    Raises:
        ValueError: there is none, or a shortened id stands for several texts.
    """
    runs = list(runs)
    matches = [answer for run in runs for answer in answers(run) if answer.place == name]
    if not matches and PLACE.fullmatch(name):  # without the run's name, in a folder of one run
        matches = [a for run in runs for a in answers(run) if a.place.partition("/")[2] == name and len(runs) == 1]
    if not matches and re.fullmatch(r"[0-9a-f]{4,16}", name):
        matches = [answer for run in runs for answer in answers(run) if answer.id.startswith(name)]
        if len({answer.id for answer in matches}) > 1:
            raise ValueError(
                f"{name!r} stands for {len({answer.id for answer in matches})} answers; give more digits of one of "
                f"{', '.join(sorted({answer.id for answer in matches})[:4])}."
            )
    if not matches:
        example = next((answer for run in reversed(runs) for answer in answers(run)), None)
        raise ValueError(
            f"There is no answer {name!r} in {', '.join(run.name for run in runs)}. Name one by its id or its place"
            + (f", such as {example.id} or {example.place}." if example else "; these runs have stored none yet.")
        )
    order = [run.folder for run in runs]
    return max(matches, key=lambda answer: (order.index(answer.run.folder), answer.when != "before"))


# --- edges


def strings(settings: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """All texts inside settings, with the name of the option they belong to."""
    if isinstance(settings, str):
        if settings[:1] in "[{":
            try:
                yield from strings(json.loads(settings), name)
                return
            except ValueError:
                pass  # a text that begins like JSON
        yield name, settings
    elif isinstance(settings, Mapping):
        for key, value in settings.items():
            yield from strings(value, f"{name} {key}".strip())
    elif isinstance(settings, list):
        for value in settings:
            yield from strings(value, name)


def locate(text: str, run: Run) -> Path | None:
    """The file or folder a setting names: as it stands, or beside the run (a pipeline that was moved); else None."""
    if not text or len(text) > 1024 or "\n" in text or text.startswith("mini:"):
        return None
    path = Path(text).expanduser()
    beside = [run.folder.parent.joinpath(*path.parts[-count:]) for count in (2, 1) if len(path.parts) >= count]
    for candidate in [path, *beside] if len(path.parts) > 1 else [path]:
        if candidate.exists() and str(candidate) not in ("", "."):
            return candidate
    return None


def edges(run: Run) -> list[Edge]:
    """What a run was made from: other runs' products, local files, and the models and data it names."""
    links: dict[tuple[str, str], Edge] = {}
    own = run.folder.resolve()
    for option, text in strings(run.settings):
        if option.startswith(NO_CAUSE):
            continue
        path = locate(text, run)
        if path is not None and path.resolve() != own and own not in path.resolve().parents:
            home = next((up for up in [path, *path.parents][:4] if (up / RUN).is_file()), None)
            if home is not None and home.resolve() != own:
                links[option, text] = Edge(option, text, path, read_run(home))
                continue
            if path.is_file():
                links[option, text] = Edge(option, text, path)
        if text in {edge.value for edge in links.values() if edge.run is None}:
            continue  # the same under another option
        if (
            re.search(r"(^|[_ ])(model|dataset)(_name|_name_or_path|s)?( name)?$", option)
            and (option, text) not in links
        ):
            links[option, text] = Edge(option, text, path)
    return list(links.values())


# --- the chain


def trace(runs: list[Run], answer: Answer, rows: int = 3) -> Json:
    """Everything behind an answer, newest run first, as JSON values.

    Args:
        rows: nearest rows shown of each run's data.
    """
    start = answer.run
    waiting: list[Run] = []
    origin = None
    if answer.when == "before":  # the model that came in, not the one that went out
        for edge in edges(start):
            if "model" in edge.option:
                if edge.run is not None:
                    waiting.append(edge.run)
                else:
                    origin = f"{edge.option}={edge.value}: a model no run here has made"
    else:
        waiting.append(start)
    chain, visited = [], set()
    while waiting:
        run = waiting.pop(0)
        if run.folder.resolve() in visited:
            continue
        visited.add(run.folder.resolve())
        links = edges(run)
        chain.append(step_of(run, links, answer, rows))
        waiting += [edge.run for edge in links if edge.run is not None]
    return {"answer": answer.to_json(), "origin": origin, "chain": chain}
