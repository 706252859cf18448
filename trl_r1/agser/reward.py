"""AGSER as a reward: does the completion agree with the answer to what mattered, and not with the answer to the rest?

    reward = lam * RougeL(completion, answer to the attentive tokens) - RougeL(completion, answer to the others)

Both sub-queries and their greedy answers depend on the prompt alone, so a group of G completions shares two generations,
and a cache keeps them over the steps while the reference is frozen. No published work trains on this. It cannot teach
anything the reference does not say; it is meant as a small term beside a correctness reward. Its hacks, and the weight
that keeps them from paying, are in docs/agser.md.
"""

from __future__ import annotations

import copy
import math
import os
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

from transformers import TrainerCallback

from trl_r1.agser.scorer import LAYERS, MEASURES, AGSERScorer
from trl_r1.agser.split import UNITS
from trl_r1.compat.sharding import shards_the_model
from trl_r1.models.four_bit import make_trainable_on_cpu
from trl_r1.models.rendering import Renderer
from trl_r1.storage.structured import option
from trl_r1.text.completions import reply


MODEL_VARIABLE = "TRL_R1_AGSER_MODEL"
REFERENCES = {
    "frozen": "the model as it was when training began, or the one that is named",
    "policy": "the model as it is trained, read anew at every step",
}
REMEMBERED = 100_000  # prompts whose two answers are kept


@dataclass
class _Bound:
    """What a reward needs of this process, never pickled: a scorer, and what is known of prompts."""

    scorer: AGSERScorer | None = None
    without_adapter: Any = None  # a PEFT policy whose base is the reference
    known: OrderedDict[tuple[Any, ...], tuple[str, str] | None] = field(default_factory=OrderedDict)
    step: int | None = None

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return type(self), ()

    def __deepcopy__(self, memo: dict[int, Any]) -> _Bound:
        return _Bound()


class Bind(TrainerCallback):
    """Gives a reward the model in training: when the trainer is made, so that a resumed run has the same reference; or,
    for a callback added later, when training begins."""

    def __init__(self, reward: AGSERReward) -> None:
        self.reward = reward

    def on_init_end(self, args: Any, state: Any, control: Any, **options: Any) -> None:
        self._bind(args, options)

    def on_train_begin(self, args: Any, state: Any, control: Any, **options: Any) -> None:
        self._bind(args, options)

    def _bind(self, args: Any, options: dict[str, Any]) -> None:
        if not self.reward.bound:
            self.reward.begin(options["model"], options.get("processing_class"), args)


def frozen_copy(model: Any) -> Any:
    """A copy that nothing trains. A forward that a trainer has put on the instance is left behind: such a closure would
    still run the original."""
    twin = copy.deepcopy(model).eval().requires_grad_(False)
    for module in twin.modules():
        vars(module).pop("forward", None)
    return twin


@dataclass(frozen=True)
class AGSERReward:
    """Agreement with the answer to the attentive tokens minus that with the answer to the others, in [-1, lam].

    The model     ``model`` (an id, a folder, or a model with ``tokenizer``), else the environment variable
                  TRL_R1_AGSER_MODEL, else the model in training: ``callbacks=[reward.callback]``; R1GRPOTrainer binds it
                  by itself. ``reference="frozen"`` copies that one when the trainer is made (its memory once more; of a
                  LoRA policy the base is read, its adapter switched off, without a copy); ``"policy"`` reads it as it
                  is, and asks again at every step.
    None          for a prompt that cannot be split, and for a completion that TRL cut off where ``mask_truncated``.
    Logs          ``<name>/r_att`` and ``<name>/r_non``, their means.

    Raises, on the first call: ValueError for no model; whatever ``AGSERScorer`` refuses.

    Source: AGSER, arXiv:2501.09997; as a reward it is ours.
    """

    model: Any = option(None, f"Id, folder or model; else ${MODEL_VARIABLE}, else the policy.")
    tokenizer: Any = option(None, "Of a model that is given as an object.")
    reference: str = option("frozen", f"One of: {', '.join(REFERENCES)}.")
    k: float = option(2 / 3, "Share of attentive tokens.")
    lam: float = option(1.0, "Weight of the attentive agreement; above 1 constancy pays.")
    layers: str = option("mean", f"One of: {', '.join(LAYERS)}.")
    measure: str = option("norm", f"One of: {', '.join(MEASURES)}.")
    consistency: Any = option("unicode", "unicode, rouge_score, tokens, or a function.")
    question_column: str = option("question", "Dataset column: the part of a text prompt to split.")
    max_new_tokens: int = option(256, "Of each answer to a sub-query.")
    batch_size: int = option(64, "Sub-queries answered at a time.")
    end_loops: bool = option(True, "End answers to sub-queries that only repeat themselves.")
    mask_truncated: int | None = option(None, "Completions of so many tokens score None.")
    name: str = option("agser", "The metric is logged as rewards/<name>/mean.")
    units: str = option("token", f"What is never torn apart: {', '.join(UNITS)}.")
    _bound: _Bound = field(default_factory=_Bound, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.reference not in REFERENCES:
            raise ValueError(f"reference={self.reference!r} is unknown. Choose one of: {', '.join(REFERENCES)}.")
        if self.model is not None and not isinstance(self.model, str) and self.tokenizer is None:
            raise ValueError("A model that is given as an object needs its tokenizer: AGSERReward(model, tokenizer).")
        if self.model is not None and self.reference == "policy":
            raise ValueError('reference="policy" reads the model in training; drop model, or take reference="frozen".')
        self._scorer_of(None, None)  # an unknown option is told now, not at the first step

    @property
    def __name__(self) -> str:
        return self.name

    @property
    def callback(self) -> TrainerCallback:
        """For ``GRPOTrainer(callbacks=[...])``: binds the model in training."""
        return Bind(self)

    def bind(self, model: str) -> AGSERReward:
        """The same reward with a model by id or folder."""
        return replace(self, model=model)

    @property
    def bound(self) -> bool:
        """Whether it has a model, or has one named."""
        return self._bound.scorer is not None or self.model is not None or bool(os.environ.get(MODEL_VARIABLE))

    def begin(self, policy: Any, tokenizer: Any, args: Any = None) -> None:
        """Takes a model as reference: a copy of it, its base, or itself.

        Raises:
            ValueError: training with ``args`` splits the model between processes; 4-bit weights that a CPU cannot train.
        """
        if getattr(args, "deepspeed", None) or getattr(args, "fsdp", None) or shards_the_model():
            raise ValueError(
                f"The reward {self.name!r} cannot take a model that DeepSpeed or FSDP splits as its reference; name "
                f"one in its option model, or in the environment variable {MODEL_VARIABLE}."
            )
        make_trainable_on_cpu(policy)
        if self.reference == "frozen":
            if hasattr(policy, "disable_adapter"):
                self._bound.without_adapter = policy
            else:
                policy = frozen_copy(policy)
        self._bound.scorer = self._scorer_of(policy, tokenizer, getattr(args, "chat_template_kwargs", None))
        self._bound.known.clear()

    def __call__(
        self,
        completions: list[Any],
        prompts: Sequence[Any] | None = None,
        completion_ids: Sequence[Sequence[int]] | None = None,
        trainer_state: Any = None,
        log_extra: Callable[[str, list[Any]], None] | None = None,
        log_metric: Callable[[str, float], None] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        if prompts is None:
            raise ValueError(f"The reward {self.name!r} splits the prompt, and was called without prompts.")
        scorer = self._scorer()
        step = getattr(trainer_state, "global_step", None)
        if self.reference == "policy" and (step is None or step != self._bound.step):
            self._bound.known.clear()
            self._bound.step = step
        with nullcontext() if self._bound.without_adapter is None else self._bound.without_adapter.disable_adapter():
            pairs = self.answers(scorer, prompts, columns.get(self.question_column))
        found: list[tuple[float, float] | None] = []
        for number, (completion, pair) in enumerate(zip(completions, pairs, strict=True)):
            cut = self.mask_truncated is not None and completion_ids is not None
            if pair is None or (cut and len(completion_ids[number]) >= self.mask_truncated):  # type: ignore[index,operator]
                found.append(None)
                continue
            text = reply(completion)
            found.append((scorer.agree(text, pair[0]), scorer.agree(text, pair[1])))
        self._log(found, log_extra, log_metric)
        return [None if parts is None else scorer.combine(*parts) for parts in found]

    def answers(
        self, scorer: AGSERScorer, prompts: Sequence[Any], questions: Sequence[Any] | None = None
    ) -> list[tuple[str, str] | None]:
        """The greedy answers to both sub-queries of each prompt, from the cache where it has them; None unsplittable."""
        known = self._bound.known
        keys = [(repr(prompt), None if questions is None else questions[i]) for i, prompt in enumerate(prompts)]
        new = {key: i for i, key in reversed(list(enumerate(keys))) if key not in known}
        if new:
            rows = list(new.values())
            inside = [self._question(prompts[i], None if questions is None else questions[i]) for i in rows]
            queries = [
                scorer.locate([prompts[i]], None if q is None else [q])[0] if prompts[i] else None
                for i, q in zip(rows, inside)
            ]
            able = [query for query in queries if query is not None and len(query.units) > 1]
            kept = [scorer.split(query, reading) for query, reading in zip(able, scorer.read(able), strict=True)]
            answered = iter(scorer.ask_again(able, kept))
            for key, query in zip(new, queries, strict=True):
                known[key] = next(answered) if query is not None and len(query.units) > 1 else None
        found = [known[key] for key in keys]
        while len(known) > REMEMBERED:
            known.popitem(last=False)
        return found

    def _question(self, prompt: Any, question: Any) -> str | None:
        """The part of a prompt that is the user's: the dataset's question where it stands in the prompt."""
        if isinstance(prompt, str):
            from trl_r1.rewards.semantic import question_of

            question = (
                question if isinstance(question, str) and question and question in prompt else question_of(prompt)
            )
            return question or None
        return None

    def _scorer(self) -> AGSERScorer:
        if self._bound.scorer is None:
            model, tokenizer = self.model, self.tokenizer
            if model is None:
                model = os.environ.get(MODEL_VARIABLE) or None
            if model is None:
                raise ValueError(
                    f"The reward {self.name!r} has no model. Give the trainer callbacks=[reward.callback], set the "
                    f"environment variable {MODEL_VARIABLE} to a model id, or the option model."
                )
            if isinstance(model, str):
                from trl import ModelConfig

                from trl_r1.models.load import find_policy, load_policy

                path = find_policy(model)
                model, tokenizer = load_policy(path, ModelConfig(model_name_or_path=path))
            self._bound.scorer = self._scorer_of(model, tokenizer)
        return self._bound.scorer

    def _scorer_of(self, model: Any, tokenizer: Any, template_options: Mapping[str, Any] | None = None) -> AGSERScorer:
        """``template_options``: for the chat template, as the run hands them to it."""
        consistency = "unicode" if self.consistency == "tokens" and tokenizer is None else self.consistency
        return AGSERScorer(
            model,
            tokenizer,
            self.k,
            self.lam,
            self.layers,
            "last",
            self.measure,
            consistency,
            max_new_tokens=self.max_new_tokens,
            batch_size=self.batch_size,
            end_loops=self.end_loops,
            units=self.units,
            renderer=None if tokenizer is None else Renderer(tokenizer, chat_template_kwargs=template_options),
        )

    def _log(
        self,
        found: Sequence[tuple[float, float] | None],
        log_extra: Callable[[str, list[Any]], None] | None,
        log_metric: Callable[[str, float], None] | None,
    ) -> None:
        scored = [parts for parts in found if parts is not None]
        for place, part in enumerate(("r_att", "r_non")):
            if log_metric is not None:  # whatever the rows: processes gather what is logged
                log_metric(f"{self.name}/{part}", sum(p[place] for p in scored) / len(scored) if scored else math.nan)
            if log_extra is not None:
                log_extra(f"{self.name}_{part}", [None if parts is None else parts[place] for parts in found])


agser_reward = AGSERReward()
"""AGSER's agreement as a reward; give the trainer ``callbacks=[agser_reward.callback]``."""
