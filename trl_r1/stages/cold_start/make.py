"""The act that makes cold-start data: problems and sources in, readable and right long chains out, in `data.jsonl`.

    drawn/      what the models wrote, in shards                (`trl_r1.storage.shards`: kill it anywhere, start it again)
    judged/     the same units, filtered, rewritten and laid out
    review...   the queue of a human review, if there is one    (`trl_r1.data.review`)
    data.jsonl  the rows to imitate, final once it is there

A sample is kept when its reply can be taken apart, its final answer is right, and no filter objects; with a rewriting
model, a right reply is first rewritten and then has to be right and readable again. Of each problem the first
`rows_per_problem` kept samples stay, sample by sample across the sources.

Under several processes the first one makes the data; the others wait for the file.
Source  DeepSeek-R1, arXiv:2501.12948v1, Sec. 2.3.1; v2, supplement B.3.2.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from datasets import Dataset
from trl import ModelConfig, SFTConfig

from trl_r1.data.columns import is_empty, load_rows, require_columns, to_prompts
from trl_r1.data.review import ReviewQueue, sample_id
from trl_r1.data.spec import spec_of
from trl_r1.errors import WaitsForPerson
from trl_r1.models.engines import SamplingServer
from trl_r1.models.load import find_policy
from trl_r1.models.rendering.prompts import as_json, own_options, prompt_of
from trl_r1.models.templates import find_template, with_system
from trl_r1.rewards.accuracy import SOURCES as ANSWER_SOURCES
from trl_r1.rewards.accuracy import Accuracy
from trl_r1.rewards.language import prompt_language
from trl_r1.runs.folder import find_model
from trl_r1.runs.processor import Generation
from trl_r1.stages.cold_start.draw import STAGE, draw, judge_all
from trl_r1.stages.cold_start.job import DATA, ColdStartJob, ReadySource
from trl_r1.stages.cold_start.options import ColdStartOptions
from trl_r1.stages.cold_start.sources import AskedInTurns, ChainSource, Example, conversation, lay_out
from trl_r1.storage.files import read_json_lines
from trl_r1.storage.shards import Shards, digest_of, write_or_tell
from trl_r1.text.completions import reply
from trl_r1.text.records import Completion, Json, Problem, Row, Sample


TEXT = "cold_start_text"  # a column of our own, while existing chains are read


class ReviewWaits(WaitsForPerson):
    """A person's turn has come; the message says where the file is and what to do."""


def check(options: ColdStartOptions, config: SFTConfig, model: ModelConfig, graders: Sequence[Any]) -> ColdStartJob:
    """Reads the problems and what the sources need, and asks servers whether they are there; draws nothing.

    Raises:
        ValueError, EngineError: in one sentence.
    """
    rows = spec_of(options).read(config.seed)
    if options.problems is not None:
        rows = rows.select(range(min(len(rows), options.problems)))
    questions = to_prompts(
        rows,
        options.question_column,
        options.solution_column,
        options.template,
        options.language_column,
        options.drop_empty,
        options.system_prompt,
    )
    problems = [problem_of(row, options.question_column) for row in questions]
    resolved = [with_defaults(source, options, model) for source in options._sources]
    sources = [
        ReadySource(
            source,
            existing_problems(source, options, config.seed) if source.name == "rows" else problems,
            examples_of(source.examples) if source.examples else (),
        )
        for source in resolved
    ]
    for name in {source.model for source in resolved if source.name != "rows" and not source.endpoint} | (
        {options.rewrite_model} if options.rewrite_model and not options.rewrite_endpoint else set()
    ):
        if not Path(find_policy(name, config.seed)).is_dir():
            find_model(name, config)  # a hub id: is it there?
    for endpoint, name in {(s.endpoint, s.model) for s in resolved if s.endpoint} | (
        {(options.rewrite_endpoint, options.rewrite_model)} if options.rewrite_endpoint else set()
    ):
        SamplingServer(endpoint, name or "").check()
    exact = next((reward for reward in graders if isinstance(reward, Accuracy)), None)
    answer_sources = exact.sources if exact else tuple(ANSWER_SOURCES)
    return ColdStartJob(options, config, model, problems, sources, answer_sources)


def generations(job: ColdStartJob) -> list[Generation]:
    """What models have to write in this process, source by source, and the rewriting of it all at the most."""
    options, seed = job.options, job.config.seed
    smaller = {"problems": 8, "source_samples": 1, "source_max_new_tokens": 256}
    answers, replies = 0, []
    for ready in job.sources:
        source = ready.source
        texts = len(ready.problems) * (1 if source.name == "rows" else int(source.samples or 1))
        answers += texts
        if source.name != "rows" and not source.endpoint:
            name, longest = find_policy(source.model, seed), int(source.max_new_tokens or 1)
            replies.append(Generation(f"the source {source.label}", name, texts, longest, smaller))
    if options.rewrite_model and not options.rewrite_endpoint:
        name, longest = find_policy(options.rewrite_model, seed), options.rewrite_max_new_tokens
        replies.append(Generation("rewriting", name, answers, longest, {**smaller, "rewrite_max_new_tokens": 256}))
    return replies


def problem_of(row: Row, question_column: str) -> Problem:
    """A row that `to_prompts` made."""
    question = row.get(question_column, "")
    problem = Problem(
        prompt_of(row),
        conversation(question) if isinstance(question, list) else str(question),
        solution=row["solution"],
        language=row.get("language") or prompt_language(row["prompt"]),
        domain=row.get("domain") or "reasoning",
    )
    return AskedInTurns(**vars(problem), turns=question) if isinstance(question, list) else problem


def with_defaults(source: ChainSource, options: ColdStartOptions, model: ModelConfig) -> ChainSource:
    """A source with the stage's options where it has none of its own."""
    endpoint = source.endpoint or (options.source_endpoint if source.model is None else None)
    template = find_template(source.template or options.template)
    inherited = options.system_prompt if source.name == "zero" and not isinstance(template, str) else None
    if source.name == "zero":
        with_system(template, source.system_prompt)  # or one sentence that says why not
    return replace(
        source,
        model=source.model or options.source_model or model.model_name_or_path,
        endpoint=endpoint,
        samples=source.samples or (1 if source.name == "rows" else options.source_samples),
        temperature=options.source_temperature if source.temperature is None else source.temperature,
        max_new_tokens=source.max_new_tokens or options.source_max_new_tokens,
        template=source.template or options.template,
        system_prompt=source.system_prompt or inherited,
    )


def existing_problems(source: ChainSource, options: ColdStartOptions, seed: int) -> list[Problem]:
    """Problems whose chains exist already, each with its chain as `reference`; rows with an empty cell are left out."""
    columns = {"completion": source.completion_column}
    if source.reasoning_column is not None:
        columns = {"reasoning": source.reasoning_column, "summary": str(source.summary_column)}
    rows = spec_of(source).load(seed, repr(source.dataset_name), **columns)
    texts = [existing_reply(*cells) for cells in zip(*(rows[column] for column in columns.values()), strict=True)]
    questions = to_prompts(
        rows.add_column(TEXT, texts),
        source.question_column,
        source.solution_column,
        options.template,
        source.language_column,
        True,
        options.system_prompt,
    )
    problems = [
        replace(problem_of(row, source.question_column), reference=row[TEXT]) for row in questions if row[TEXT]
    ]
    if not problems:
        raise ValueError(f"{source.dataset_name!r} has no row with a text in {', '.join(columns.values())}.")
    return problems


def existing_reply(*cells: Any) -> str | None:
    """The chain in a row: a completion, or reasoning and summary; None where a cell is empty."""
    if any(map(is_empty, cells)):
        return None
    return reply(cells[0]) if len(cells) == 1 else lay_out(str(cells[0]), str(cells[1]), "summary")


def examples_of(path: str) -> list[Example]:
    """Worked examples of a user's own.

    Raises:
        ValueError: a missing column or file.
    """
    rows = load_rows(path)
    require_columns(rows, {name: name for name in ("question", "reasoning", "summary")}, repr(path))
    return [Example(str(row["question"]), str(row["reasoning"]), str(row["summary"])) for row in rows]


def make(job: ColdStartJob) -> tuple[list[Row], Json]:
    """Draws, judges, reviews and keeps; the rows of `data.jsonl`, and what became of all samples.

    Raises:
        ReviewWaits: a person has to decide first.
        ValueError, EngineError, JudgeError, ShardError: in one sentence; what was finished is kept.
    """
    path, counts_path = job.folder / DATA, job.folder / "counts.json"
    if path.is_file() and counts_path.is_file():
        rows, counts = read_json_lines(path), json.loads(counts_path.read_text(encoding="utf-8"))
        if len(rows) != counts["review"]["kept"]:
            raise ValueError(
                f"{path} has {len(rows)} readable rows and was written with {counts['review']['kept']}. Remove it: it is "
                "made again from the shards beside it."
            )
        return rows, counts
    samples = draw(job)
    judged = judge_all(job, samples)
    candidates, counts = keep(job, judged)
    if not candidates:
        raise ValueError(nothing_left(counts))
    samples_kept = after_review(job, candidates)
    counts["review"] = {"candidates": len(candidates), "kept": len(samples_kept)}
    counts["seconds"] = round(samples.seconds() + judged.seconds(), 1)
    if not samples_kept:
        raise ValueError(f"The review dropped all {len(candidates)} rows; there is nothing to imitate.")
    write_or_tell(counts_path, json.dumps(counts, indent=1, ensure_ascii=False))
    write_or_tell(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in samples_kept))
    return samples_kept, counts


# --- keeping


def keep(job: ColdStartJob, judged: Shards) -> tuple[list[Row], Json]:
    """Of each problem the first `rows_per_problem` samples that passed, and the counts of what became of all."""
    order = {source.label: number for number, source in enumerate(job.sources)}
    counts: dict[str, Counter[str]] = {label: Counter() for label in order}
    passed: list[tuple[int, int, int, Row]] = []
    for unit, rows in judged.rows():
        problems = job.source(unit.pool).problems
        for row in rows:
            counts[unit.pool]["drawn"] += 1
            if "dropped" in row:
                counts[unit.pool][row["dropped"]] += 1
            else:
                line = record(row, problems[row["problem"]], job.options)
                passed.append((row["index"], order[unit.pool], row["problem"], line))
    per_problem_counts: Counter[str] = Counter()
    rows_by_id: dict[str, Row] = {}
    for _, number, _, line in sorted(passed, key=lambda entry: entry[:3]):
        label = job.sources[number].label
        problem = digest_of(line["prompt"], line["solution"])
        if line["id"] in rows_by_id:
            counts[label]["seen before"] += 1
        elif per_problem_counts[problem] >= job.options.rows_per_problem:
            counts[label]["problem has enough"] += 1
        else:
            per_problem_counts[problem] += 1
            rows_by_id[line["id"]] = line
            counts[label]["kept"] += 1
    return list(rows_by_id.values()), {"sources": {label: dict(count) for label, count in counts.items()}}


def record(row: Row, problem: Problem, options: ColdStartOptions) -> Row:
    """A kept sample, as its shard has it, as the line of a data file."""
    origin = {key: row[key] for key in ("source", "model", "model_hash", "prompt_hash", "seed", "index")}
    rewritten = {"rewritten_by": row["rewritten_by"]} if row.get("rewritten_by") else {}
    return {
        "id": sample_id(problem.prompt, row["completion"]),
        "prompt": problem.prompt,
        "completion": row["completion"],
        "question": problem.question,
        "solution": problem.solution,
        "language": problem.language,
        "domain": problem.domain,
        **getattr(problem.prompt, "own", {}),
        "score": {"right": True} if "right" in options._filters else {},
        "provenance": {"stage": STAGE, **origin, "filters": options._filters, **rewritten},
    }


def nothing_left(counts: Json) -> str:
    """Why there is no row, in one sentence."""
    total: Counter[str] = Counter()
    for count in counts["sources"].values():
        total.update(count)
    samples = total.pop("drawn", 0)
    reasons = ", ".join(f"{name} {number}" for name, number in total.most_common())
    return (
        f"None of {samples} samples can be imitated; dropped by: {reasons}. Choose another source or model, more samples, "
        "or fewer filters; `judged` in the output_dir says why for each."
    )


def after_review(job: ColdStartJob, candidates: list[Row]) -> list[Row]:
    """The candidates that a person let pass (all of them, where no review is asked for), in their order.

    Raises:
        ReviewWaits: some are still undecided.
        ValueError: the file says something that cannot be taken; see `ReviewQueue.consume`.
    """
    if job.options.review is None:
        return candidates
    path = Path(job.options.review).expanduser()
    path = path if path.parent != Path(".") or path.is_absolute() else job.folder / path
    shown_rows = [row for row in candidates if int(row["id"], 16) < job.options.review_share * 16.0**16]

    def objection(row: Row, text: str) -> str | None:
        problem = Problem(row["prompt"], row["question"], row["solution"], row["language"])
        screened = job.screen([Sample(problem, Completion(text))])[0]
        if screened.text is None:
            return screened.verdict.reason
        return None if screened.text == text else f"not in the layout {job.options.layout!r}"

    queue = ReviewQueue(path, shown_rows, objection)
    waiting = queue.consume()
    if waiting:
        raise ReviewWaits(
            f"{waiting} of {len(shown_rows)} rows wait for a person in {path}: write keep or drop into `decision`, rewrite "
            "`completion` where needed, save, and start the same command again."
        )
    ids = {row["id"] for row in shown_rows}
    reviewed: dict[str, Row] = {}
    for row in [*(row for row in candidates if row["id"] not in ids), *queue.result()]:
        reviewed.setdefault(row["id"], row)  # an edited text may have become another row's
    return list(reviewed.values())


def rows_to_imitate(rows: list[Row]) -> Dataset:
    """The columns that matter, of rows whose others may differ in type."""
    own = [as_json(own_options(row)) for row in rows]
    columns = dict.fromkeys(column for options in own for column in options)
    return Dataset.from_list(
        [
            {"prompt": row["prompt"], "completion": row["completion"], **{name: options.get(name) for name in columns}}
            for row, options in zip(rows, own, strict=True)
        ]
    )


def notes_on(rows: list[Row], counts: Json) -> list[str]:
    """What the report says about the data: a table of what became of the samples of each source."""
    columns = list(dict.fromkeys(name for count in counts["sources"].values() for name in count))
    table = [f"| source | {' | '.join(columns)} |", "|---|" + "---:|" * len(columns)]
    for label, count in counts["sources"].items():
        table.append(f"| {label} | " + " | ".join(str(count.get(name, 0)) for name in columns) + " |")
    review = counts["review"]
    sentence = f"{len(rows)} rows in `{DATA}`"
    if review["kept"] != review["candidates"]:
        sentence += f" after a review of {review['candidates']}"
    return [sentence + "; what became of the samples, by the first filter that objected:", "\n".join(table)]
