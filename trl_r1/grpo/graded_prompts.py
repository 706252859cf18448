"""GradedPrompts: how a curriculum reaches into TRL's trainer."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from accelerate.utils import gather_object

from trl_r1.grpo.config import R1GRPOConfig
from trl_r1.grpo.curriculum import Curriculum, CurriculumSampler, levels_of
from trl_r1.grpo.mixin import Host
from trl_r1.storage.checkpoints import checkpoint_folder
from trl_r1.storage.files import replace_file


STATE_FILE = "trl_r1_curriculum.json"
ROW_COLUMN = "trl_r1_row"  # the number of a row, which a reward sees and which says whose completion it judges


class GradedPrompts(Host):
    """What a GRPO trainer needs to follow a curriculum: a mixin, idle with ``curriculum="none"``."""

    options: R1GRPOConfig
    train_dataset: Any
    _curriculum: Curriculum | None = None

    def _start_curriculum(self) -> None:
        """Reads the levels; called once the trainer has its dataset and its options."""
        options = self.options
        if options.curriculum == "none":
            return
        rows = self.train_dataset
        if not hasattr(rows, "select_columns") or not hasattr(rows, "__len__"):
            raise ValueError(
                f"curriculum={options.curriculum!r} chooses among all rows, so it needs a dataset with a length, not a "
                "stream. Drop streaming, or the curriculum."
            )
        per_batch = self.args.generation_batch_size // self.num_generations
        updates = self.args.steps_per_generation * self.num_iterations  # micro-batches a generation serves
        if self.args.max_steps > 0:
            batches = -(-self.args.max_steps * self.args.gradient_accumulation_steps // updates)
        else:
            batches = math.ceil(self.args.num_train_epochs * (len(rows) // max(1, per_batch)))
        self._curriculum = Curriculum(
            options.curriculum,
            levels_of(rows, options.curriculum_column),
            per_batch,
            batches,
            self.args.seed,
            options.curriculum_regrade,
        )
        if options.curriculum_regrade:
            if options.curriculum_reward not in self.reward_func_names:
                raise ValueError(
                    f"curriculum_reward={options.curriculum_reward!r} is none of this run's rewards "
                    f"({', '.join(self.reward_func_names)}); name the one that says whether an answer is right."
                )
            self.train_dataset = rows.add_column(ROW_COLUMN, list(range(len(rows))))

    def _get_train_sampler(self, dataset: Any = None) -> Any:
        if self._curriculum is None:
            return super()._get_train_sampler(dataset)
        return CurriculumSampler(
            self._curriculum, self.num_generations, self.num_iterations * self.args.steps_per_generation
        )

    def _calculate_rewards(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        scores = super()._calculate_rewards(inputs, *args, **kwargs)
        if self._curriculum is not None and self._curriculum.regrade and self.model.training:
            rows = gather_object([example[ROW_COLUMN] for example in inputs])
            self._curriculum.observe(
                rows, scores[:, self.reward_func_names.index(self.options.curriculum_reward)].tolist()
            )
        return scores

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        if self._curriculum is not None and self.args.should_save:
            replace_file(checkpoint_folder(self, trial) / STATE_FILE, json.dumps(self._curriculum.state()))
        super()._save_checkpoint(model, trial)

    def _load_optimizer_and_scheduler(self, checkpoint: Any) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if self._curriculum is None or checkpoint is None:
            return
        path = Path(checkpoint) / STATE_FILE
        if not path.is_file():
            raise ValueError(
                f"Cannot resume from {checkpoint}: it holds no {STATE_FILE}, so the order of its curriculum is lost. Resume "
                "from a checkpoint of a run with a curriculum, or start without one."
            )
        self._curriculum.restore(json.loads(path.read_text(encoding="utf-8")), int(self.state.epoch + 1e-9))
