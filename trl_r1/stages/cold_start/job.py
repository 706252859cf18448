"""What the making of cold-start data needs, checked once and handed from step to step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trl import ModelConfig, SFTConfig

from trl_r1.stages.cold_start.options import ColdStartOptions
from trl_r1.stages.cold_start.screening import Verdict, screen
from trl_r1.stages.cold_start.sources import ChainSource, Example


Row = dict[str, Any]

DATA = "data.jsonl"


@dataclass
class Maker:
    """Everything the making of the data needs, checked."""

    options: ColdStartOptions
    config: SFTConfig
    model: ModelConfig
    problems: list[Row]  # question, solution, language, domain, prompt (as the tuned model will be asked)
    sources: list[ChainSource]
    existing: dict[str, list[Row]]  # of the sources `rows`, by label
    examples: dict[str, list[Example]]  # of the sources `few_shot` that bring their own, by label
    answer_sources: tuple[str, ...]
    loaded: tuple[str, Any, Any] | None = None  # name, model and tokenizer that sources share while they draw

    @property
    def folder(self) -> Path:
        return Path(self.config.output_dir)

    def screen(self, samples: list[Row], filters: Sequence[str] | None = None) -> list[Verdict]:
        """Verdicts on samples, by the stage's options."""
        options = self.options
        chosen = options._filters if filters is None else filters
        return screen(samples, options.layout, chosen, options.limits(), self.answer_sources)
