"""The act behind the stage `evaluate`: sample benchmarks, judge stored answers again, or follow a run that trains."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from trl import ModelConfig

from trl_r1.evaluation import follow as following
from trl_r1.evaluation.benchmark import Evaluation, Graders, compare, default_graders, plain
from trl_r1.evaluation.chunks import Sampling, cut, evaluate_in_chunks
from trl_r1.evaluation.clustered import Wanted, sample_chunks, start_evaluating
from trl_r1.evaluation.graders import check_verifier
from trl_r1.evaluation.suite_report import numbers, part_name, write_suite_report
from trl_r1.evaluation.suites import Entry, problems_of, read_suite
from trl_r1.models.load import cannot_load, find_policy, load_policy, tokenizer_of
from trl_r1.models.rendering import Renderer
from trl_r1.models.sampling import check_options
from trl_r1.models.templates import TEMPLATES, check_template_options, template_for
from trl_r1.rewards.catalogue import load_rewards, read_rewards
from trl_r1.runs.folder import RunFolder
from trl_r1.runs.options import RAY_NAMES, RayOptions, SystemPrompt, TemplateKwargs, check_cluster
from trl_r1.runs.preview import as_read
from trl_r1.runs.processor import Generation, check_processor
from trl_r1.runs.rendering import keep_date, read_kwargs, renderer_of
from trl_r1.runs.run import Run
from trl_r1.runs.writing import WritingOptions, first_ids, load_writer, told
from trl_r1.stages.evaluate.matching import check_columns, judge_again, load_parts, match_earlier, regrade_notes
from trl_r1.storage import manifest
from trl_r1.storage.structured import read_numbers
from trl_r1.text.records import Json, Row


DEFAULT_SAMPLES = 16
ASKED = ("system_prompt", "chat_template_kwargs")  # in the settings of an evaluation where they are set


@dataclass
class EvaluateOptions(RayOptions, SystemPrompt, TemplateKwargs, WritingOptions):
    """What the stage reads besides the model's own fields."""

    datasets: str = field(  # a list in YAML, JSON or names on the command line
        default="mini:test",
        metadata={
            "help": "Benchmarks: a list of names (aime24, math500, gsm8k) or {name, label, config, split, "
            "question_column, solution_column, language_column, language, problems, samples, shots_from}."
        },
    )
    template: str | None = field(
        default=None,
        metadata={"help": "As in training; None: the model's chat template where it has one, else r1_zero."},
    )
    shots: str = field(default="0", metadata={"help": "Examples before the question: a list; [0, 4] asks both ways."})
    samples: int | None = field(
        default=None, metadata={"help": "K for datasets that name none themselves; None takes 16."}
    )
    most_samples: int | None = field(
        default=None, metadata={"help": "Never draw more than this of any problem, whatever its benchmark says."}
    )
    problems: int | None = field(default=None, metadata={"help": "Only the first this many problems of each dataset."})
    temperature: float = field(default=0.6, metadata={"help": "DeepSeek-R1 evaluates at 0.6; 0 is greedy."})
    top_p: float = field(default=0.95, metadata={"help": "DeepSeek-R1 evaluates at 0.95."})
    max_tokens: int = field(default=2048, metadata={"help": "Longest answer in tokens; DeepSeek-R1 allows 32,768."})
    batch_size: int = field(default=64, metadata={"help": "Completions generated at once."})
    chunk_problems: int = field(
        default=16, metadata={"help": "Problems per stored piece: what a killed evaluation loses at most."}
    )
    pass_at: str = field(default="1,2,4,8,16,32,64", metadata={"help": "The k of the pass@k table, up to K."})
    rewards: str = field(
        default='[{"name": "accuracy"}, {"name": "format"}]',
        metadata={"help": "As in training: the options of accuracy and format say where an answer is looked for."},
    )
    verifier: str | None = field(
        default=None,
        metadata={
            "help": "A reward of `rewards`, by its name: a reply is right where it pays in full (code: the program passes "
            "its tests). None: where its answer equals the gold answer."
        },
    )
    compare_with: str | None = field(
        default=None,
        metadata={"help": "An earlier evaluation (a folder or a JSON file) for the paired before/after test."},
    )
    regrade: str | None = field(
        default=None,
        metadata={"help": "Judge the stored answers of this folder or file again; nothing is generated."},
    )
    follow: str | None = field(
        default=None,
        metadata={"help": "output_dir of a training that runs: evaluate each new checkpoint, into its report."},
    )
    follow_poll: float = field(default=5.0, metadata={"help": "Seconds between two looks for a new checkpoint."})
    follow_patience: float = field(
        default=3600.0, metadata={"help": "Seconds without a new checkpoint after which following ends."}
    )
    output_dir: str = field(
        default="runs/evaluate", metadata={"help": "Where it goes; with follow, the run's folder `followed`."}
    )
    seed: int = field(default=0, metadata={"help": "Of the sampling, the examples and the miniature world."})
    use_cpu: bool = field(default=False, metadata={"help": "Stay on the CPU though there is a GPU."})
    disable_tqdm: bool = field(default=False, metadata={"help": "No progress lines."})

    resume_from_checkpoint = None  # what RunFolder asks a training for

    def __post_init__(self) -> None:
        read_kwargs(self.chat_template_kwargs)
        self.shot_counts = read_numbers("shots", self.shots)
        self.ks = read_numbers("pass_at", self.pass_at, ge=1)
        self.check_writing(elsewhere=self.cluster() is not None)
        for name in ("samples", "most_samples", "problems"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}={value} leaves nothing to evaluate; give a number above 0.")
        if self.chunk_problems < 1:
            raise ValueError(f"chunk_problems={self.chunk_problems} must be at least 1.")
        check_options(1, self.temperature, self.top_p, self.max_tokens, self.batch_size, None)
        if self.regrade and self.follow:
            raise ValueError("regrade judges stored answers and follow samples new ones; give one of the two.")
        if self.follow and self.cluster() is not None:
            raise ValueError(
                "follow evaluates beside a training, at low priority on its machine; leave ray_workers out."
            )

    @property
    def distributed_state(self) -> PartialState:
        return PartialState(cpu=self.use_cpu)


@dataclass
class PreparedEvaluation:
    """What `prepare_evaluation` found in order."""

    entries: list[Entry]
    parts: dict[str, list[Row]]  # problems by part; empty when judging stored answers
    graders: Graders
    model: str | None
    earlier: dict[str, Evaluation]
    stored: dict[str, Evaluation]  # to judge again
    lock: Any


def prepare_evaluation(options: EvaluateOptions, model: ModelConfig) -> PreparedEvaluation:
    """Checks everything a user can get wrong, in the order of cost.

    Raises:
        ValueError: one sentence. Nothing was written by then, except `run.json` if the folder was free.
    """
    rewards, _ = load_rewards(read_rewards(options.rewards))
    check_verifier(rewards, options.verifier)
    graders = default_graders(rewards, options.verifier)
    template_for(options.template)
    earlier = load_parts(options.compare_with) if options.compare_with else {}
    stored = load_parts(options.regrade) if options.regrade else {}
    check_columns(stored, options.verifier, options.regrade)
    entries = [] if options.regrade else read_suite(options.datasets)
    parts = asked_parts(entries, options.template or "chat", options)
    if options.follow and not (Path(options.follow) / manifest.FILE_NAME).is_file():
        raise ValueError(
            f"follow={options.follow!r} is no run: there is no {manifest.FILE_NAME} in it. Start the training first."
        )
    check_cluster(options, options.distributed_state)
    path = None
    if not options.regrade and not options.follow:
        with options.distributed_state.main_process_first():
            path = find_policy(model.model_name_or_path, options.seed)
    if options.template is None:
        options.template = usual_template(options, path)
        parts = asked_parts(entries, options.template, options)
    prompts = [row["prompt"] for rows in parts.values() for row in rows]
    if prompts:
        check_template_options(read_kwargs(options.chat_template_kwargs), prompts)
    settings = manifest.settings_of(options) | {"model_name_or_path": model.model_name_or_path}
    settings = {name: value for name, value in settings.items() if name not in RAY_NAMES}
    folder = RunFolder.look("evaluate", options, settings, ("*.json", "*/*.json*"), ("compare_with", "ks", "pass_at"))  # type: ignore[arg-type]
    if path is not None:
        generations = []
        if options.cluster() is None:
            answers = sum(
                len(parts[part_name(entry.label, shots)]) * samples_of(entry, options)
                for entry in entries
                for shots in options.shot_counts
            )
            smaller = {"problems": 8, "most_samples": 1, "max_tokens": 256}
            generations = [Generation("the evaluation", path, answers, options.max_tokens, smaller)]
        check_processor("evaluate", options, model, path, generations)
    folder.take()
    return PreparedEvaluation(entries, parts, graders, path, earlier, stored, folder.lock)


def asked_parts(entries: Sequence[Entry], template: str, options: EvaluateOptions) -> dict[str, list[Row]]:
    """Part -> its problems, put into a template."""
    return {
        part_name(entry.label, shots): problems_of(
            entry, template, shots, options.seed, options.system_prompt, columns=options.verifier is not None
        )[: options.problems]
        for entry in entries
        for shots in options.shot_counts
    }


def usual_template(options: EvaluateOptions, path: str | None) -> Any:
    """The template where none is given: that of the run that is followed, whose system prompt and template options are
    taken over too, else the name that `template_for` says."""
    if options.follow:
        record = json.loads((Path(options.follow) / manifest.FILE_NAME).read_text(encoding="utf-8"))
        followed = record.get("settings") or {}
        for name in ASKED:
            if getattr(options, name) is None:
                setattr(options, name, followed.get(name))
        return followed.get("template") or "r1_zero"
    if path is None:  # stored answers are not asked for again
        return "r1_zero"
    try:
        chosen = template_for(None, tokenizer_of(path))
    except (OSError, ValueError) as error:
        raise ValueError(cannot_load(path, error)) from error
    return next(name for name, template in TEMPLATES.items() if template == chosen)


def samples_of(entry: Entry, options: EvaluateOptions) -> int:
    """K of a dataset."""
    samples = entry.samples or options.samples or DEFAULT_SAMPLES
    return min(samples, options.most_samples or samples)


def run_evaluation(options: EvaluateOptions, model: ModelConfig, prepared: PreparedEvaluation) -> Json:
    """Samples (or judges again) and reports; returns the summary it also writes.

    Leaves in `output_dir`: run.json, one JSON per part with every answer, report.md, pass_at_k.png, summary.json.
    """
    run = Run("evaluate", options)
    if run.summary is not None:
        return run.summary
    state, folder, path = options.distributed_state, run.folder, prepared.model
    if options.regrade:
        parts = judge_again(prepared.stored, prepared.graders, folder, state)
        earlier, notes = prepared.stored, regrade_notes(prepared.stored, parts, options.regrade)
        of = next(iter(parts.values())).settings.get("model")  # whose answers they are, whatever the recipe names
    else:
        assert prepared.model is not None

        @cache
        def load() -> Any:
            return load_to_write(str(prepared.model), options, model, prepared, folder)

        sample_on_cluster(options, model, prepared, folder)
        parts = sample_parts(load, options, prepared, folder, str(model.model_name_or_path))
        earlier = match_earlier(prepared.earlier, parts)
        notes, of = told(options, folder), str(model.model_name_or_path)
        if prepared.earlier and not earlier:
            notes.append(f"Nothing in {options.compare_with} holds the same problems, so nothing is compared.")
    title = f"evaluate: {of}" if not options.regrade else f"regrade: {options.regrade}"
    settings = manifest.settings_of(options) | {"model_name_or_path": of}

    def report() -> None:
        row = next((row for rows in prepared.parts.values() for row in rows), None)
        write_suite_report(folder, title, parts, earlier, options.ks, settings, notes, as_read(path, options, row))
        print(f"The report is {folder / 'report.md'}.")

    return run.finish(
        {
            "model": of,
            "before": numbers(next(iter(earlier.values())), options.ks) if earlier else None,
            "after": numbers(next(iter(parts.values())), options.ks),
            "parts": {part: numbers(one, options.ks) for part, one in parts.items()},
            "differences": {
                part: [plain(value) for value in compare(earlier[part], one, "pass@1")]
                for part, one in parts.items()
                if part in earlier
            },
        },
        report,
    )


def sample_parts(
    load: Callable[[], Any],
    options: EvaluateOptions,
    prepared: PreparedEvaluation,
    folder: Path,
    name: str,
) -> dict[str, Evaluation]:
    """Every part, stored or new."""
    parts, render = {}, cache(partial(renderer_for, options))
    for entry in prepared.entries:
        for shots in options.shot_counts:
            part = part_name(entry.label, shots)
            parts[part] = evaluate_in_chunks(
                load,
                prepared.parts[part],
                folder,
                part,
                chunk=options.chunk_problems,
                state=options.distributed_state,
                seed=options.seed,
                graders=prepared.graders,
                progress=None if options.disable_tqdm else say,
                about={"model": name, "dataset": entry.name, "template": options.template, "shots": shots}
                | {key: getattr(options, key) for key in ASKED if getattr(options, key)},
                render=render,
                **sampling_of(entry, options),
            )
    return parts


def load_to_write(
    name: str, options: EvaluateOptions, model: ModelConfig, prepared: PreparedEvaluation, folder: Path
) -> tuple[Any, Any]:
    """The model that answers, the policy or its copy, and the tokenizer."""
    prompts = (row["prompt"] for rows in prepared.parts.values() for row in rows)

    def ids(policy: Any, tokenizer: Any) -> Any:
        return first_ids(renderer_for(options, policy, tokenizer), prompts)

    return load_writer(lambda: load_policy(name, model, options.use_cpu), options, folder, ids)


def renderer_for(options: EvaluateOptions, model: Any, tokenizer: Any) -> Renderer:
    """What prompts are rendered and replies are read with."""
    renderer = renderer_of(tokenizer, options, model=model)
    keep_date(renderer, options)
    return renderer


def sampling_of(entry: Entry, options: EvaluateOptions) -> Sampling:
    """How the answers of a dataset are drawn."""
    return {
        "samples": samples_of(entry, options),
        "temperature": options.temperature,
        "top_p": options.top_p,
        "max_new_tokens": options.max_tokens,
        "batch_size": options.batch_size,
    }


def sample_on_cluster(
    options: EvaluateOptions, model: ModelConfig, prepared: PreparedEvaluation, folder: Path
) -> None:
    """With ``ray_workers``: samples the pieces of all parts at once and stores them where `sample_parts` takes them up."""
    cluster = options.cluster()
    if cluster is None:
        return
    work: list[Wanted] = []
    for entry in prepared.entries:
        for part in (part_name(entry.label, shots) for shots in options.shot_counts):
            if not (folder / f"{part}.json").is_file():
                chunks = cut(prepared.parts[part], folder, part, options.chunk_problems, options.seed)
                work += [(chunk, sampling_of(entry, options)) for chunk in chunks]
    load = partial(load_policy, str(prepared.model), model, options.use_cpu)
    threads, render = max(1, int(options.ray_cpus_per_worker)), partial(renderer_for, options)
    start = partial(start_evaluating, load, prepared.graders, threads, render)
    sample_chunks(cluster, work, start, None if options.disable_tqdm else say)


def say(line: str) -> None:
    print(line, flush=True)


def follow_run(options: EvaluateOptions, model: ModelConfig, prepared: PreparedEvaluation) -> list[int]:
    """Evaluates each new checkpoint of `options.follow`; the numbers go into that run's report. Returns the steps."""
    run, where = Path(str(options.follow)), Path(options.output_dir)
    niceness = following.lower_priority()
    torch.set_num_threads(1)
    print(f"Following {run} at niceness {niceness}; stop it at any time, start it again to go on.", flush=True)

    def evaluate(folder: Path, step: int) -> dict[str, Evaluation]:
        @cache
        def load() -> Any:
            return load_to_write(str(folder), options, model, prepared, where / f"step-{step:06d}")

        return sample_parts(load, options, prepared, where / f"step-{step:06d}", f"{run} step {step}")

    return following.follow(
        run,
        where,
        evaluate,
        parts=list(prepared.parts),
        say=say,
        poll_seconds=options.follow_poll,
        patience_seconds=options.follow_patience,
    )
