"""What the stage rejection_sampling reads besides the model's own fields and the limits of what is readable."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from accelerate import PartialState

from trl_r1.data.filters import CRITERION, FILTERS, check_names
from trl_r1.models.engines import SamplingServer
from trl_r1.models.judge import Judge
from trl_r1.models.sampling import check_options
from trl_r1.rewards.accuracy import SOURCES
from trl_r1.runs.cluster_options import RayOptions
from trl_r1.runs.options import DataOptions
from trl_r1.stages.rejection_sampling.mix import quotas
from trl_r1.stages.rejection_sampling.pools import Pool, read_list, read_pools


ENGINES = ("transformers", "endpoint", "ray_vllm")


@dataclass
class RejectionOptions(DataOptions, RayOptions):
    """Problems, sampling, judging, selection."""

    max_prompts: int | None = field(default=None, metadata={"help": "Only the first this many problems."})
    samples_per_prompt: int = field(default=16, metadata={"help": "Texts drawn for each problem."})
    temperature: float = field(default=1.0, metadata={"help": "Of the sampling; 1 is the policy as it is."})
    top_p: float = field(default=1.0, metadata={"help": "Nucleus mass; 1 switches it off."})
    max_new_tokens: int = field(default=1024, metadata={"help": "Longest text in tokens."})
    sampling_batch_size: int = field(default=256, metadata={"help": "Texts generated at once, in this process."})
    unit_prompts: int = field(
        default=32, metadata={"help": "Prompts per shard: what a kill can cost. An endpoint is kept busy within one."}
    )
    engine: str = field(default="transformers", metadata={"help": f"Who samples: {', '.join(ENGINES)}."})
    endpoint: str | None = field(
        default=None, metadata={"help": "Address of an OpenAI-compatible server, such as http://127.0.0.1:8000/v1."}
    )
    endpoint_model: str | None = field(
        default=None, metadata={"help": "The model's name on that server; None takes model_name_or_path."}
    )
    endpoint_concurrency: int = field(default=16, metadata={"help": "Requests at a time."})
    endpoint_attempts: int = field(default=5, metadata={"help": "Attempts per request."})
    endpoint_seconds: float = field(default=600.0, metadata={"help": "Longest time for one attempt."})
    endpoint_extra: str = field(
        default="{}", metadata={"help": "Further fields of each request, a mapping; for vLLM {top_k: -1}."}
    )
    vllm_options: str = field(
        default="{}", metadata={"help": "For ray_vllm: arguments of vLLM's engine, such as {max_model_len: 4096}."}
    )
    answer_sources: str = field(
        default='["boxed", "answer"]', metadata={"help": f"Where a final answer may stand, of: {', '.join(SOURCES)}."}
    )
    judge_endpoint: str | None = field(
        default=None, metadata={"help": "Server of a judge model that is shown the gold where the rule cannot decide."}
    )
    judge_model: str | None = field(default=None, metadata={"help": "The judge's name on that server."})
    judge_attempts: int = field(default=3, metadata={"help": "Attempts per answer to be judged."})
    judge_seconds: float = field(default=60.0, metadata={"help": "Longest time for one of them."})
    filters: str = field(
        default=json.dumps(list(FILTERS)),
        metadata={"help": f"Filters for the reasoning samples, of: {', '.join(FILTERS)}."},
    )
    near_duplicate_similarity: float = field(
        default=0.8, metadata={"help": "Question and reply this alike (Jaccard of 5-grams) count once; 0 keeps all."}
    )
    decontaminate: str = field(
        default="[]",
        metadata={
            "help": "Evaluation sets whose 10-grams may not occur: a list of {dataset_name, dataset_split, "
            "question_column, solution_column}."
        },
    )
    per_prompt: int | None = field(default=None, metadata={"help": "Most samples kept of one prompt; None: all."})
    general: str = field(
        default="[]",
        metadata={"help": "Pools of non-reasoning prompts: a list of mappings. See docs/rejection_sampling.md."},
    )
    mix: str = field(
        default="{}",
        metadata={
            "help": "How much of each pool: {reasoning: 0.75, writing: 0.25}, shares or numbers; {}: everything."
        },
    )
    mix_total: int | None = field(default=None, metadata={"help": "Size of the result, where the mix gives shares."})
    output_dir: str = field(default="runs/rejection-sampling", metadata={"help": "Where everything is left."})
    seed: int = field(default=0, metadata={"help": "Of the sampling and the mix."})
    use_cpu: bool = field(default=False, metadata={"help": "Stay on the CPU though there is a GPU."})
    disable_tqdm: bool = field(default=False, metadata={"help": "No progress bars."})

    resume_from_checkpoint = None  # what RunFolder asks a training for

    def __post_init__(self) -> None:
        check_options(
            self.samples_per_prompt, self.temperature, self.top_p, self.max_new_tokens, self.sampling_batch_size, None
        )
        if self.engine not in ENGINES:
            raise ValueError(f"engine={self.engine!r} is unknown. Choose one of: {', '.join(ENGINES)}.")
        if self.engine == "endpoint" and not self.endpoint:
            raise ValueError("engine: endpoint needs its address; set endpoint, such as http://127.0.0.1:8000/v1.")
        if self.engine == "endpoint" and self.cluster() is not None:
            raise ValueError(
                "engine: endpoint samples on its server, so ray_workers has nothing to do; leave it out, or take "
                "engine: transformers, which runs in every worker."
            )
        if self.engine == "ray_vllm" and self.cluster() is None:
            raise ValueError("engine: ray_vllm needs ray_workers, the number of vLLM engines on the Ray cluster.")
        self._vllm = read_mapping(self.vllm_options, "vllm_options")
        if bool(self.judge_endpoint) != bool(self.judge_model):
            raise ValueError("A judge needs both judge_endpoint and judge_model.")
        if self.unit_prompts < 1:
            raise ValueError(f"unit_prompts={self.unit_prompts} makes no shards; give a whole number of at least 1.")
        if self.per_prompt is not None and self.per_prompt < 1:
            raise ValueError(
                f"per_prompt={self.per_prompt} keeps nothing; give a whole number of at least 1, or null."
            )
        if not 0.0 <= self.near_duplicate_similarity <= 1.0:
            raise ValueError(f"near_duplicate_similarity={self.near_duplicate_similarity} is not in [0, 1].")
        self._sources = read_names(self.answer_sources, "answer_sources")
        unknown = [name for name in self._sources if name not in SOURCES]
        if unknown:
            raise ValueError(f"answer_sources: {unknown[0]!r} is unknown. Choose from: {', '.join(SOURCES)}.")
        self._evaluation_sets = read_list(self.decontaminate, "decontaminate")
        self._pools = [self._reasoning(), *read_pools(self.general, self.template)]
        self._targets = read_mapping(self.mix, "mix")
        quotas(dict.fromkeys((pool.name for pool in self._pools), 1), self._targets, self.mix_total)

    def _reasoning(self) -> Pool:
        return Pool(
            "reasoning", self.dataset_name, "reasoning", self.dataset_config, self.dataset_split, self.question_column,
            self.solution_column, self.language_column, None, self.template, self.samples_per_prompt, self.max_prompts,
            "keep", tuple(check_names(read_names(self.filters, "filters"))),
        )  # fmt: skip

    @property
    def distributed_state(self) -> PartialState:
        """The processes of this run."""
        return PartialState(cpu=self.use_cpu) if self.use_cpu else PartialState()

    def server(self, model: str | None) -> SamplingServer:
        """The sampling endpoint.

        Raises:
            ValueError: one of its options cannot be.
        """
        return SamplingServer(
            str(self.endpoint), self.endpoint_model or model or "", self.temperature, self.top_p, self.max_new_tokens,
            self.endpoint_concurrency, self.endpoint_attempts, seconds=self.endpoint_seconds,
            extra=read_mapping(self.endpoint_extra, "endpoint_extra"),
        )  # fmt: skip

    def referee(self) -> Judge | None:
        """The judge, or None."""
        if not self.judge_endpoint:
            return None
        return Judge(
            self.judge_endpoint,
            str(self.judge_model),
            CRITERION,
            seconds=self.judge_seconds,
            attempts=self.judge_attempts,
        )


def read_names(given: Any, option: str) -> list[str]:
    """A list of names from YAML, from JSON, or with commas between them.

    Raises:
        ValueError: it is none.
    """
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except ValueError:
            given = [part.strip() for part in given.split(",") if part.strip()]
    if not isinstance(given, list) or not given or not all(isinstance(name, str) for name in given):
        raise ValueError(f"{option} must be a list of names, not {given!r}.")
    return given


def read_mapping(given: Any, option: str) -> dict[str, Any]:
    """A mapping from YAML, or from JSON on the command line.

    Raises:
        ValueError: it is none.
    """
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except ValueError as error:
            raise ValueError(f"{option}={given!r} is not JSON ({error}); give a mapping.") from error
    if not isinstance(given, dict):
        raise ValueError(f"{option} must be a mapping such as {{name: value}}, not {given!r}.")
    return given
