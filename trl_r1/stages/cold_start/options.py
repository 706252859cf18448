"""What the cold-start stage reads: how its data is made, besides everything that a supervised stage reads."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from trl_r1.data.filters import FILTERS, FilterLimits, check_names
from trl_r1.rewards.format import LAYOUTS
from trl_r1.runs.options import SFTOptions
from trl_r1.stages.cold_start.sources import SOURCES, read_sources
from trl_r1.storage.structured import one_of, read_names


@dataclass
class ColdStartOptions(SFTOptions):
    """`dataset_name` and its kin name the problems here; the rows to imitate are made of them."""

    problems: int | None = field(default=None, metadata={"help": "Only the first this many problems."})
    sources: str = field(  # a list of mappings in YAML, JSON on the command line
        default='[{"name": "zero"}]',
        metadata={
            "help": "Where chains come from: a list of {name, ...}. "
            + "; ".join(f"{name}: {about}" for name, about in SOURCES.items())
            + ". Keys: docs/cold_start.md."
        },
    )
    source_model: str | None = field(
        default=None, metadata={"help": "Model that is sampled, an adapter too; default: model_name_or_path."}
    )
    source_endpoint: str | None = field(
        default=None, metadata={"help": "OpenAI-compatible server that is sampled instead, such as vLLM's."}
    )
    source_samples: int = field(default=4, metadata={"help": "Samples per problem and source."})
    source_temperature: float = field(default=1.0, metadata={"help": "DeepSeek-R1 v2, B.3.2: 1.0."})
    source_top_p: float = field(default=1.0, metadata={"help": "Nucleus mass; 1 switches it off."})
    source_max_new_tokens: int = field(default=1024, metadata={"help": "Longest reply, in tokens."})
    source_batch_size: int = field(default=64, metadata={"help": "Replies drawn at once, in this process."})
    endpoint_concurrency: int = field(default=16, metadata={"help": "Requests at a time, to a server."})
    unit_prompts: int = field(default=64, metadata={"help": "Problems per shard: what a kill can cost."})
    rewrite_model: str | None = field(
        default=None, metadata={"help": "Model that rewrites right chains readably; None: they stay as they are."}
    )
    rewrite_endpoint: str | None = field(default=None, metadata={"help": "Server that has the rewriting model."})
    rewrite_max_new_tokens: int = field(default=2048, metadata={"help": "Longest rewritten chain, in tokens."})
    layout: str = field(
        default="cold_start",
        metadata={"help": "Of the rows: " + "; ".join(f"{name}: {about}" for name, about in LAYOUTS.items())},
    )
    filters: str = field(
        default=json.dumps(list(FILTERS)), metadata={"help": f"A list, any of: {', '.join(FILTERS)}."}
    )
    language_share: float = field(default=0.95, metadata={"help": "Least share of words in the problem's language."})
    longest_paragraph: int = field(default=1500, metadata={"help": "Characters a paragraph of the thought may have."})
    repeated_share: float = field(default=0.3, metadata={"help": "Share of the text that may have occurred before."})
    rows_per_problem: int = field(default=1, metadata={"help": "Kept rows per problem, at most."})
    review: str | None = field(
        default=None,
        metadata={
            "help": "File for a human review, such as review.jsonl or review.csv (in output_dir unless a path). The "
            "stage writes it and stops with exit code 4; edit it, then start the same command again."
        },
    )
    review_share: float = field(default=1.0, metadata={"help": "Share of the rows a person sees, chosen by id."})
    only_data: bool = field(default=False, metadata={"help": "Stop after data.jsonl; tune nothing."})

    def __post_init__(self) -> None:
        super().__post_init__()
        self._sources = read_sources(self.sources)
        self._filters = check_names(read_names("filters", self.filters))
        one_of("layout", self.layout, LAYOUTS)
        for name in (
            "source_samples",
            "source_max_new_tokens",
            "source_batch_size",
            "unit_prompts",
            "rows_per_problem",
            "endpoint_concurrency",
            "rewrite_max_new_tokens",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} leaves nothing to do; give 1 or more.")
        if self.rewrite_endpoint and not self.rewrite_model:
            raise ValueError("rewrite_endpoint needs rewrite_model, the name by which that server knows its model.")
        if not 0.0 < self.review_share <= 1.0:
            raise ValueError(f"review_share={self.review_share} is not a share in (0, 1].")
        self.limits()

    def limits(self) -> FilterLimits:
        """The limits of the filters."""
        return FilterLimits(
            layout=self.layout,
            language_share=self.language_share,
            longest_paragraph=self.longest_paragraph,
            repeated_share=self.repeated_share,
        )
