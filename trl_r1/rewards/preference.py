"""Preference: what a reward model, or a judge behind an endpoint, says of a reply; for prompts without a gold answer.

    helpfulness    judged on the summary alone, "minimizing interference with the underlying reasoning process"
    harmlessness   judged on the whole response, "including both the reasoning process and the summary"

Source: DeepSeek-R1, arXiv:2501.12948, v1 Sec. 2.3.4 and v2 Sec. 3.1: each general prompt belongs to the helpful or to
the safety set and gets that model's score; preference rewards run only in the last 400 of 1,700 steps (v2 Sec. 3.2.2,
because "more training steps with the model-based preference reward signal may lead to reward hacking").

TRL runs a reward model that it is given as a model on prompt and whole completion at every step; neither the summary
alone nor a window of steps can be had that way, so these are callables.
"""

from __future__ import annotations

import math
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from trl_r1.models.judge import CRITERIA, Failure, Judge
from trl_r1.rewards.semantic import model_id, spoken
from trl_r1.storage.structured import option
from trl_r1.text.completions import ANSWER, THINK, after_reasoning, reply
from trl_r1.text.reasoning_format import PREFILLED_HELP, THINK_HELP, ReadsReasoning, checked_tags


HELPFULNESS_VARIABLE = "TRL_R1_HELPFULNESS_MODEL"
HARMLESSNESS_VARIABLE = "TRL_R1_HARMLESSNESS_MODEL"
SCOPES = {"summary": "the text after the thought", "response": "thought and all"}
NORMALIZERS: dict[str, str] = {
    "affine": "sign * (raw - center) / spread; unbounded, as the model is",
    "zscore": "the same with the mean and standard deviation of all raw scores so far, in [-clip, clip]",
    "sigmoid": "the logistic function of affine, in [0, 1]",
    "softmax": "the label's share among several labels, in [0, 1]; one minus it for sign=-1",
}
_WARNED: set[tuple[str, str]] = set()  # (endpoint, model) that a warning was given for in this process


class Moments:
    """Running mean and standard deviation (Welford, over whole batches); stops moving after ``most`` numbers."""

    def __init__(self, most: int | None = None) -> None:
        self.count, self.mean, self.squares, self.most = 0, 0.0, 0.0, most

    def add(self, numbers: Sequence[float]) -> None:
        for number in numbers:
            if self.most is not None and self.count >= self.most:
                return
            self.count += 1
            step = number - self.mean
            self.mean += step / self.count
            self.squares += step * (number - self.mean)

    @property
    def spread(self) -> float:
        """Standard deviation over ``count - 1``; 0.0 below two numbers."""
        return math.sqrt(self.squares / (self.count - 1)) if self.count > 1 else 0.0


def summary(text: str, think: tuple[str, str] = THINK, prefilled_think: bool = False) -> str:
    """What the reader is meant to see: the text after the thought, without answer tags; "" where the thought never ends.

    >>> summary("<think>is it 3?</think> <answer>It is 4.</answer>")
    'It is 4.'
    """
    rest = after_reasoning(text, think, prefilled_think)
    return rest.replace(ANSWER[0], "").replace(ANSWER[1], "").strip()


def conversation(prompt: Any) -> list[dict[str, str]]:
    """A prompt as messages with text; a plain prompt is one user message."""
    if prompt is None or isinstance(prompt, str):
        return [{"role": "user", "content": prompt or ""}]
    messages = [prompt] if isinstance(prompt, dict) else prompt
    spoken_messages = [{"role": str(m.get("role", "user")), "content": spoken(m)} for m in messages]
    return [message for message in spoken_messages if message["content"]] or [{"role": "user", "content": ""}]


@dataclass(frozen=True)
class Preference(ReadsReasoning):
    """A reward model's or a judge's score of a reply; None for rows that are another model's, and outside the window.

    Range: see ``NORMALIZERS``; a judge's verdict is in [0, 1] before normalisation. A score that is not finite is None.

    Scope     "summary" is what follows the thought, so nothing in the thought can move the score; "response" is all of
              it. An empty summary is judged like any other text, unless ``empty_score`` sets its score.
    Rows      where the rows have ``route_column``, only those that name ``route`` (alone or in a list) are scored.
    Window    the steps in ``[from_step, to_step)``, or the last ``last_steps`` of training, by ``trainer_state``:
              optimizer steps, counted from 0. Nothing is loaded or asked outside. Without a trainer it is always open.
    zscore    statistics belong to one process and one run: ranks differ a little until ``freeze_after`` scores, and a
              resumed run starts anew. For numbers that never move, measure once (``<name>/raw_mean`` and
              ``<name>/raw_spread`` are logged) and give them to affine as ``center`` and ``spread``.
    Judge     with ``endpoint``, ``model`` is the name the server knows (``trl_r1.models.judge``). What fails is None,
              is counted in ``<name>/judge_failed``, and warned about once.

    Raises, on the first call: ValueError for no model, a checkpoint without a trained head, an unknown label.

    Source: DeepSeek-R1, see the module. Departure: the paper says neither how scores are scaled nor how long the
    helpful model's input may be; pairs longer than ``max_length`` keep both ends.
    """

    model: str | None = option(None, "Model id or folder, or the judge's name on its server.")
    scope: str = option("summary", f"What is judged: {', '.join(SCOPES)}.")
    model_variable: str = option("", "Environment variable that names the model instead.")
    route: str | None = option(None, "Score only rows whose route_column says this.")
    route_column: str = option("reward_for", "Dataset column: whose a prompt is.")
    label: str | int | None = option(None, "Which label is scored, as in id2label.")
    normalize: str = option("affine", f"One of: {', '.join(NORMALIZERS)}.")
    sign: int = option(1, "-1 where a high raw score is bad (toxicity).")
    center: float = option(0.0, "Raw score that becomes 0.")
    spread: float = option(1.0, "Raw points that become 1.")
    clip: float = option(5.0, "Limit of zscore, in standard deviations.")
    freeze_after: int | None = option(None, "Scores after which zscore stops learning.")
    empty_score: float | None = option(None, "Score of a reply without text in scope.")
    last_steps: int | None = option(None, "Active in the last so many steps (R1: 400).")
    from_step: int | None = option(None, "First step it is active in.")
    to_step: int | None = option(None, "First step it is active in no more.")
    chat: bool | None = option(None, "Use the chat template; None: where there is one.")
    max_length: int = option(4096, "Most tokens of prompt and text together.")
    batch_size: int = option(8, "Texts per forward pass.")
    device: str | None = option(None, "Such as cpu or cuda:1; else this process's own.")
    endpoint: str | None = option(None, "A judge, such as http://127.0.0.1:8000/v1.")
    criterion: str = option("helpful", f"{', '.join(CRITERIA)}, or a judge's task in words.")
    judge_options: dict[str, Any] = option({}, "Bounds: see judge.Judge.")
    prefilled_think: bool | None = option(None, PREFILLED_HELP)
    think: tuple[str, str] | None = option(None, THINK_HELP)
    name: str = option("preference", "The metric is logged as rewards/<name>/mean.")

    _moments: Moments = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, known in (("scope", SCOPES), ("normalize", NORMALIZERS)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name}={getattr(self, name)!r} is unknown. Choose one of: {', '.join(known)}.")
        if self.sign not in (1, -1):
            raise ValueError(f"sign={self.sign} is neither 1 nor -1.")
        if not all(map(math.isfinite, (self.center, self.spread, self.clip))) or min(self.spread, self.clip) <= 0:
            raise ValueError(
                f"center={self.center}, spread={self.spread}, clip={self.clip}: spread and clip are above 0."
            )
        if self.empty_score is not None and not math.isfinite(self.empty_score):
            raise ValueError(f"empty_score={self.empty_score} is not a score. Give a finite number or None.")
        if self.last_steps is not None and (self.from_step is not None or self.to_step is not None):
            raise ValueError("Give the window as last_steps, or as from_step and to_step, not as both.")
        if any(step is not None and step < 0 for step in (self.last_steps, self.from_step, self.to_step)):
            raise ValueError("last_steps, from_step and to_step are numbers of optimizer steps, 0 or more.")
        if self.max_length < 32 or self.batch_size < 1:
            raise ValueError(
                f"max_length={self.max_length}, batch_size={self.batch_size}: at least 32 tokens and one text."
            )
        if self.endpoint and self.normalize == "softmax":
            raise ValueError("A judge has no labels: normalize=softmax is for classification models.")
        if self.judge_options and not self.endpoint:
            raise ValueError("judge_options bound a judge, but endpoint names none.")
        if self.endpoint:
            self._judge("unnamed")  # wrong options are refused now
        object.__setattr__(self, "think", checked_tags(self.think))
        object.__setattr__(self, "_moments", Moments(self.freeze_after))

    def bind(self, model: str, **options: Any) -> Preference:
        """The same reward with a model, and other options if you like."""
        return replace(self, model=model, **options)

    def active(self, trainer_state: Any = None) -> bool:
        """Whether the window is open at ``trainer_state.global_step``.

        Raises:
            ValueError: ``last_steps`` is set and the trainer does not know its last step.
        """
        if trainer_state is None:
            return True
        step, start, end = trainer_state.global_step, self.from_step or 0, self.to_step
        if self.last_steps is not None:
            if not trainer_state.max_steps or trainer_state.max_steps < 0:
                raise ValueError(f"{self.name}: last_steps={self.last_steps}, but the trainer has no max_steps yet.")
            start = trainer_state.max_steps - self.last_steps
        return start <= step and (end is None or step < end)

    def __call__(
        self,
        completions: list[Any],
        prompts: Sequence[Any] | None = None,
        trainer_state: Any = None,
        log_extra: Callable[[str, list[Any]], None] | None = None,
        log_metric: Callable[[str, float], None] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        scores: list[float | None] = [None] * len(completions)
        active = self.active(trainer_state)
        texts = [
            self._in_scope(completion, prompt)
            for completion, prompt in zip(completions, prompts or [None] * len(completions), strict=True)
        ]
        rows = self._rows(len(completions), columns.get(self.route_column)) if active else []
        judged_rows = [row for row in rows if self.empty_score is None or texts[row]]
        raw = self._raw([(prompts[row] if prompts is not None else None, texts[row]) for row in judged_rows])
        for row in rows:
            scores[row] = self.empty_score
        for row, score in zip(judged_rows, self._normalized(raw), strict=True):
            scores[row] = score
        if log_extra is not None:
            raw_of_row = dict(zip(judged_rows, raw, strict=True))
            log_extra(f"{self.name}_raw", [raw_of_row.get(row) for row in range(len(completions))])
        if log_metric is not None:
            log_metric(f"{self.name}/active", float(active))
            log_metric(f"{self.name}/routed", len(rows) / max(1, len(scores)))
            known = [value for value in raw if value is not None]
            moments = Moments()
            moments.add(known)  # NaN below: nothing to tell, but every rank has to log the same names
            log_metric(f"{self.name}/raw_mean", moments.mean if known else math.nan)
            log_metric(f"{self.name}/raw_spread", moments.spread if known else math.nan)
            if self.endpoint:
                log_metric(f"{self.name}/judge_failed", 1.0 - len(known) / len(raw) if raw else math.nan)
        return scores

    def _in_scope(self, completion: Any, prompt: Any) -> str:
        text = reply(completion)
        return summary(text, *self.reading(completion, prompt)) if self.scope == "summary" else text

    def _rows(self, count: int, routes: Sequence[Any] | None) -> list[int]:
        if self.route is None or routes is None:
            return list(range(count))
        return [
            row
            for row, names in enumerate(routes)
            if self.route == names or (isinstance(names, (list, tuple, set)) and self.route in names)
        ]

    def _raw(self, pairs: list[tuple[Any, str]]) -> list[float | None]:
        """The model's logit (with softmax, the label's share) or the judge's verdict for every (prompt, text)."""
        if not pairs:
            return []
        name = model_id(self.model, self.model_variable, self.name) if self.model_variable or self.model else None
        if name is None:
            raise ValueError(f"The reward {self.name!r} has no model. Set its option model to a model id or a folder.")
        if self.endpoint:
            return self._verdicts(name, pairs)
        from trl_r1.models.load_classifier import load_classifier

        classifier = load_classifier(name, self.device, self.max_length)
        index = classifier.label_index(self.label)
        chat = bool(classifier.tokenizer.chat_template) if self.chat is None else self.chat
        conversations = [(conversation(prompt) if chat else _as_text(prompt), text) for prompt, text in pairs]
        logits = classifier.logits(conversations, self.batch_size, chat)  # (N, labels)
        if self.normalize == "softmax":
            if logits.shape[1] == 1:
                raise ValueError(
                    f"The model of {self.name!r} has one label, which is always all. Use normalize=sigmoid."
                )
            logits = logits.softmax(dim=1)
        return [value if math.isfinite(value) else None for value in logits[:, index].tolist()]

    def _verdicts(self, name: str, pairs: list[tuple[Any, str]]) -> list[float | None]:
        verdicts = self._judge(name).grade([(_as_text(prompt), text) for prompt, text in pairs])
        failures = Counter(verdict.why for verdict in verdicts if isinstance(verdict, Failure))
        failed = sum(failures.values())
        address = (str(self.endpoint), name)
        if failed and address not in _WARNED:
            _WARNED.add(address)
            reasons = ", ".join(f"{why} ({count})" for why, count in failures.most_common())
            warnings.warn(
                f"{self.name}: {failed} of {len(verdicts)} replies got no verdict from {self.endpoint}: {reasons}. They "
                f"score None. Watch {self.name}/judge_failed; this is said once.",
                stacklevel=2,
            )
        return [None if isinstance(verdict, Failure) else verdict for verdict in verdicts]

    def _judge(self, name: str) -> Judge:
        try:
            return Judge(str(self.endpoint), name, self.criterion, **self.judge_options)
        except TypeError as error:
            raise ValueError(
                f"judge_options={self.judge_options!r}: {error}. See trl_r1.models.judge.Judge."
            ) from error

    def _normalized(self, raw: list[float | None]) -> list[float | None]:
        center, spread = self.center, self.spread
        if self.normalize == "zscore":
            with _LOCK:
                self._moments.add([value for value in raw if value is not None])
                center, spread = self._moments.mean, self._moments.spread
        return [None if value is None else self._normal(value, center, spread) for value in raw]

    def _normal(self, raw: float, center: float, spread: float) -> float:
        if self.normalize == "softmax":
            return raw if self.sign > 0 else 1.0 - raw
        if spread == 0.0:
            return 0.0  # zscore before two different scores
        value = self.sign * (raw - center) / spread
        if self.normalize == "zscore":
            return max(-self.clip, min(self.clip, value))
        return 0.5 * (1.0 + math.tanh(value / 2.0)) if self.normalize == "sigmoid" else value


_LOCK = threading.Lock()


def _as_text(prompt: Any) -> str:
    """A prompt as one text: a single user message bare, several messages with their roles."""
    messages = conversation(prompt)
    if len(messages) == 1:
        return messages[0]["content"]
    return "\n\n".join(f"{message['role']}: {message['content']}" for message in messages)


helpfulness_reward = Preference(
    scope="summary", model_variable=HELPFULNESS_VARIABLE, route="helpfulness", criterion="helpful", name="helpfulness"
)
"""How helpful the summary alone is, for rows routed to "helpfulness", by a reward model or a judge; unbounded."""

harmlessness_reward = Preference(
    scope="response",
    model_variable=HARMLESSNESS_VARIABLE,
    route="harmlessness",
    criterion="harmless",
    name="harmlessness",
)
"""How harmless the whole response is, for rows routed to "harmlessness", by a reward model or a judge; unbounded."""
