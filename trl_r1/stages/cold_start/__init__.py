"""Cold start: makes a few thousand readable long chains and tunes the base on them, so that RL starts from a writer.

    trl-r1 cold-start --config cold_start          (or a path, or mini/cold_start for a CPU)

Reads   problems with a checkable gold answer, and the models or files that `sources` names; see docs/cold_start.md.
Leaves  in `output_dir`: data.jsonl (the rows, each with where it came from), drawn/ and judged/ (every sample and what
        became of it), and what `sft` leaves: the model or its adapter, checkpoints, evaluations, report.md, summary.json.
Review  with `review: review.csv` the stage writes the rows into that file and stops with exit code 4. Mark or edit them,
        start the same command again, and it goes on with what you let pass.
Exits   0 finished, 2 a mistake of the user's, 3 the world failed (a server, the disk), 4 a person's turn.
Source  DeepSeek-R1, arXiv:2501.12948v1, Sec. 2.3.1; v2, supplement B.3.2 (making the data) and B.4.2 (tuning on it).
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from trl_r1 import errors
from trl_r1.evaluation.report import write_report
from trl_r1.models.options import R1ModelConfig
from trl_r1.runs.folder import SUMMARY, finished, quiet_libraries
from trl_r1.runs.options import parse
from trl_r1.runs.processor import tell_before_training
from trl_r1.runs.rendering import keep_date
from trl_r1.runs.run import Run
from trl_r1.runs.sft import PreparedTuning, prepare, run_sft, training_rows
from trl_r1.runs.tuning_config import R1SFTConfig
from trl_r1.stages.cold_start import make as cold_data
from trl_r1.stages.cold_start.job import ColdStartJob
from trl_r1.stages.cold_start.options import ColdStartOptions
from trl_r1.text.records import Json, Row


STAGE = "cold_start"


def main(argv: list[str] | None = None) -> None:
    quiet_libraries()

    def ready():
        options, config, model = parse((ColdStartOptions, R1SFTConfig, R1ModelConfig), argv)
        prepared = prepare(STAGE, options, config, model, rows_come_later=True)
        resumes = config.resume_from_checkpoint not in (None, False)
        if (Path(config.output_dir) / SUMMARY).is_file() and not resumes:
            return options, config, prepared, model, None  # finished: its sources need not be there any more
        job = cold_data.check(options, config, model, prepared.graders)
        more = cold_data.generations(job)
        tell_before_training(STAGE, options, config, model, prepared.model, prepared.evaluation_rows, more)
        prepared.folder.take()
        keep_date(prepared.renderer, config)
        return options, config, prepared, model, job

    options, config, prepared, model, job = errors.tell(STAGE, ready)
    if job is None and finished(config) is not None:
        return
    samples, counts = make_data(job, prepared)
    notes = cold_data.notes_on(samples, counts)
    more = {"kept": len(samples), "data": counts}
    if options.only_data:
        run = Run(STAGE, config)
        if run.is_main:
            entries = {"seconds": counts["seconds"], **more}
            run.write(entries, lambda: write_report(run.folder, f"{STAGE}: data alone", notes=notes))
        return
    rows = errors.tell(
        STAGE,
        lambda: training_rows(
            cold_data.rows_to_imitate(samples), imitating(options), config, prepared, cold_data.DATA
        ),
    )
    prepared = replace(prepared, train_rows=rows)
    run_sft(STAGE, options, config, model, prepared, notes, more, counts["seconds"])


def imitating(options: ColdStartOptions) -> ColdStartOptions:
    """The options as they read our own rows, whatever the columns of the problems are called."""
    return replace(options, prompt_column="prompt", completion_column="completion", messages_column=None)


def make_data(job: ColdStartJob, prepared: PreparedTuning) -> tuple[list[Row], Json]:
    """The data, made by the main process; the others wait until it lies there."""
    state = job.config.distributed_state
    while not state.is_main_process and not (job.folder / cold_data.DATA).is_file():
        time.sleep(1.0)  # a launcher ends all processes when the first one fails
    try:
        return errors.tell(STAGE, lambda: cold_data.make(job), errors.AT_WORK)
    except BaseException:
        prepared.folder.let_go()
        raise
