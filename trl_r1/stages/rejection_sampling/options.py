"""What the stage rejection_sampling reads besides the model's own fields and the limits of what is readable."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from accelerate import PartialState

from trl_r1.data.filters import CRITERION, FILTERS
from trl_r1.models.engines import SamplingServer, for_server
from trl_r1.models.judge import Judge
from trl_r1.models.sampling import check_options
from trl_r1.rewards.accuracy import SOURCES
from trl_r1.runs.options import DataOptions, RayOptions, TemplateKwargs
from trl_r1.runs.processor import Generation
from trl_r1.runs.rendering import read_kwargs
from trl_r1.runs.writing import WritingOptions
from trl_r1.stages.rejection_sampling.mix import quotas
from trl_r1.stages.rejection_sampling.pools import EvaluationSet, PromptPool, read_pools
from trl_r1.storage.structured import one_of, read_entries, read_mapping, read_names


ENGINES = ("transformers", "endpoint", "ray_vllm")


@dataclass
class RejectionOptions(DataOptions, RayOptions, TemplateKwargs, WritingOptions):
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
        one_of("engine", self.engine, ENGINES)
        self.check_writing(elsewhere=self.engine != "transformers" or self.cluster() is not None)
        if self.engine == "endpoint" and not self.endpoint:
            raise ValueError("engine: endpoint needs its address; set endpoint, such as http://127.0.0.1:8000/v1.")
        if self.engine == "endpoint" and self.cluster() is not None:
            raise ValueError(
                "engine: endpoint samples on its server, so ray_workers has nothing to do; leave it out, or take "
                "engine: transformers, which runs in every worker."
            )
        if self.engine == "ray_vllm" and self.cluster() is None:
            raise ValueError("engine: ray_vllm needs ray_workers, the number of vLLM engines on the Ray cluster.")
        self._vllm = read_mapping("vllm_options", self.vllm_options)
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
        self._sources = read_names("answer_sources", self.answer_sources)
        for name in self._sources:
            one_of("answer_sources", name, SOURCES)
        self._evaluation_sets = read_entries(
            "decontaminate", self.decontaminate, EvaluationSet, "dataset_name", least=0
        )
        self._pools = [self._reasoning(), *read_pools(self.general, self.template, self.system_prompt)]
        self._kwargs = read_kwargs(self.chat_template_kwargs)
        self._targets = read_mapping("mix", self.mix)
        quotas(dict.fromkeys((pool.name for pool in self._pools), 1), self._targets, self.mix_total)

    def _reasoning(self) -> PromptPool:
        return PromptPool(
            name="reasoning",
            domain="reasoning",
            dataset_name=self.dataset_name,
            dataset_config=self.dataset_config,
            dataset_split=self.dataset_split,
            question_column=self.question_column,
            solution_column=self.solution_column,
            language_column=self.language_column,
            template=self.template,
            system_prompt=self.system_prompt,
            samples=self.samples_per_prompt,
            max_prompts=self.max_prompts,
            chain="keep",
            filters=tuple(read_names("filters", self.filters)),
        )

    @property
    def distributed_state(self) -> PartialState:
        """The processes of this run."""
        return PartialState(cpu=self.use_cpu) if self.use_cpu else PartialState()

    def generations(self, problems: Mapping[str, Sequence[object]], model: str) -> list[Generation]:
        """What the checkpoint has to write in this process for ``problems`` by pool; reused answers ask nothing of it."""
        if self.cluster() is not None:
            return []
        answers = sum(pool.draws * len(problems[pool.name]) for pool in self._pools if not pool.answer_column)
        smaller = {"max_prompts": 8, "samples_per_prompt": 1, "max_new_tokens": 256}
        return [Generation("the sampling", model, answers, self.max_new_tokens, smaller)]

    def server(self, model: str | None) -> SamplingServer:
        """The sampling endpoint.

        Raises:
            ValueError: one of its options cannot be.
        """
        return SamplingServer(
            endpoint=str(self.endpoint),
            model=self.endpoint_model or model or "",
            temperature=self.temperature,
            top_p=self.top_p,
            max_new_tokens=self.max_new_tokens,
            concurrency=self.endpoint_concurrency,
            attempts=self.endpoint_attempts,
            seconds=self.endpoint_seconds,
            extra=read_mapping("endpoint_extra", self.endpoint_extra) | for_server(self._kwargs),
        )

    def judge_client(self) -> Judge | None:
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
