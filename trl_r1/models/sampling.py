"""Sampling: P prompts in, K texts of each out, with `generate` and without a trace on the model or the random state.

What makes it quick on a CPU as on a GPU: prompts run longest first in rows of similar length, the K rows of one prompt
beside each other; and a batch is not held up by its longest row: every batch is generated up to ``first_pass`` tokens
only, then the unfinished rows of *all* batches are pooled and continued up to twice as many, and so on. A row that
continues pays a prefill of what it has; as the passes double, these add up to about its own length (and its prompt
once per pass). When all rows end together this costs instead (8 % for 30 tokens in two passes): ``first_pass=None``.
A model that is large enough to be held up by tokens, not by steps, pays for every prompt it reads again, so its first
pass is at least half as long as the prompts.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from trl_r1.models.rendering import Renderer, end_ids
from trl_r1.text.records import Completion, Json, Prompt


if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


FIRST_PASS = 16  # tokens; with 100 problems x 16 samples of 23 tokens (cut at 96) 2.6 times as fast as one pass
LARGE = 10**7  # parameters from which a prompt read again costs more than the steps that it saves

# What a model's own generation_config may set and a benchmark must not inherit (Qwen2.5: repetition_penalty 1.05).
NEUTRAL: Json = {
    "top_k": 0,
    "min_p": 0.0,
    "typical_p": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
    "repetition_penalty": 1.0,
    "encoder_repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "num_beams": 1,
    "min_length": 0,
    "min_new_tokens": 0,
    "forced_eos_token_id": None,
}


@dataclass
class Samples:
    """K completions of each of P prompts, in the order of the prompts.

    Texts are decoded without special tokens, those of a thought's marks excepted; tokens are counted as TRL counts
    ``completions/mean_length``, the end token included.
    """

    completions: list[list[Completion]]  # (P, K)
    seconds: float = 0.0  # wall clock of the sampling

    @property
    def texts(self) -> list[list[str]]:
        """(P, K)."""
        return [[completion.text for completion in row] for row in self.completions]

    @property
    def tokens(self) -> int:
        """Generated tokens altogether."""
        return sum(completion.token_count or 0 for row in self.completions for completion in row)


def sample(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    prompts: Sequence[Prompt],
    samples: int = 16,
    temperature: float = 0.6,
    top_p: float = 0.95,
    max_new_tokens: int = 512,
    batch_size: int = 256,
    seed: int = 0,
    progress: bool = True,
    first_pass: int | Literal["auto"] | None = "auto",
    renderer: Renderer | None = None,
) -> Samples:
    """Draw ``samples`` completions of every prompt from the plain policy at a temperature.

    Args:
        model: a causal language model, a PeftModel as well. Comes back in the modes (train/eval per module, cache
            flags) it came in.
        tokenizer: is not changed; padding is on the left whatever its own side is.
        prompts: P texts, or P conversations.
        samples: K per prompt. At temperature 0 one is generated and repeated.
        temperature: 0 is greedy.
        top_p: nucleus mass; 1 switches it off. No other restriction applies: top-k, penalties and the like in the
            model's own generation_config are overruled.
        max_new_tokens: a text that reaches it without an end token is truncated.
        batch_size: rows generated at a time (prompts times samples).
        seed: the same seed, batch_size and first_pass on the same machine give the same texts. The random states of
            Python, numpy and torch (CPU and every accelerator the model is on) stay where they were.
        progress: a bar on stderr.
        first_pass: tokens before unfinished rows are pooled for the first time; None generates every batch to the end;
            "auto" goes by the model and the prompts (`first_pass_for`).
        renderer: makes ids of prompts and texts of completions; None is one with the tokenizer's own template and no
            options.

    Raises:
        ValueError: a number out of range, or a conversation for a tokenizer without a chat template.
    """
    import time

    import torch
    from tqdm.auto import tqdm

    check_options(
        samples, temperature, top_p, max_new_tokens, batch_size, None if isinstance(first_pass, str) else first_pass
    )
    if not len(prompts):
        return Samples([])
    started = time.perf_counter()
    draws = samples if temperature > 0 else 1
    renderer = renderer or Renderer(tokenizer)
    rows = [
        list(ids) for ids in tokenize(tokenizer, prompts, renderer) for _ in range(draws)
    ]  # P * drawn lists of token ids
    if isinstance(first_pass, str):
        first_pass = first_pass_for(sum(parameter.numel() for parameter in model.parameters()), list(map(len, rows)))
    ends = end_tokens(model, tokenizer)
    draw = partial(
        continue_rows,
        model,
        temperature=temperature,
        top_p=top_p,
        ends=ends,
        pad=padding(tokenizer, ends),
        device=model.get_input_embeddings().weight.device,
    )
    with (
        own_randomness(seed, {parameter.device for parameter in model.parameters()}),
        evaluation_mode(model),
        torch.no_grad(),
        tqdm(total=len(rows), desc="sampling", unit="text", disable=not progress, leave=False) as bar,
    ):
        new, ended = finish_rows(rows, draw, ends, max_new_tokens, batch_size, first_pass, bar.update)

    completions = [
        Completion(renderer.decode(row[len(row) - count :]), count, truncated=not end)
        for row, count, end in zip(rows, new, ended, strict=True)
    ]
    by_prompt = [completions[p * draws : (p + 1) * draws] * (samples // draws) for p in range(len(prompts))]
    return Samples(by_prompt, time.perf_counter() - started)


def first_pass_for(parameters: int, prompts: Sequence[int]) -> int:
    """Tokens of the first pass: `FIRST_PASS`, and for a large model at least half the median prompt.

    Args:
        parameters: of the model.
        prompts: lengths of the prompts in tokens.

    >>> first_pass_for(135_000_000, [200, 240, 280]), first_pass_for(100_000, [200, 240, 280])
    (120, 16)
    """
    return FIRST_PASS if parameters < LARGE else max(FIRST_PASS, sorted(prompts)[len(prompts) // 2] // 2)


def finish_rows(
    rows: list[list[int]],
    draw: Callable[[list[list[int]], int], list[list[int]]],
    ends: set[int],
    max_new_tokens: int,
    batch_size: int,
    first_pass: int | None,
    finished: Callable[[int], Any],
) -> tuple[list[int], list[bool]]:
    """Lengthens every row of token ids, in place, to its end token or by ``max_new_tokens``.

    Args:
        rows: N lists of token ids.
        draw: (rows, count) -> ``count`` more tokens for each; what stands behind an end token is dropped.
        first_pass: tokens before the rows still open are pooled for the first time, then twice as many each time.
        finished: told how many rows of a batch are finished.

    Returns:
        (N,) new tokens of each row, and whether an end token ended it.
    """
    new, ended = [0] * len(rows), [False] * len(rows)
    todo, budget = list(range(len(rows))), 0
    while todo:
        budget = max_new_tokens if first_pass is None else min(max_new_tokens, max(first_pass, 2 * budget))
        todo.sort(key=lambda row: (-len(rows[row]), row))  # the sort keeps the rows of one prompt together
        for start in range(0, len(todo), batch_size):
            batch = todo[start : start + batch_size]
            step = budget - new[batch[0]]  # every open row has as many new tokens as any other
            for row, ids in zip(batch, draw([rows[row] for row in batch], step), strict=True):
                stop = next((i for i, token in enumerate(ids) if token in ends), None)
                tokens = ids if stop is None else ids[: stop + 1]
                rows[row] += tokens
                new[row] += len(tokens)
                ended[row] = stop is not None
            finished(sum(ended[row] or new[row] >= max_new_tokens for row in batch))
        todo = [row for row in todo if not ended[row] and new[row] < max_new_tokens]
    return new, ended


def continue_rows(
    model: "PreTrainedModel",
    rows: list[list[int]],
    step: int,
    temperature: float,
    top_p: float,
    ends: set[int],
    pad: int,
    device: "torch.device",
    top_k: int = 0,
    **further: Any,
) -> list[list[int]]:
    """``step`` more tokens for each row of token ids (padding after the end token included), left-padded.

    ``further`` goes to ``generate``: ``stopping_criteria``, for instance.
    """
    from transformers import GenerationConfig

    ids, mask = left_padded(rows, pad, device)
    theirs = getattr(model, "generation_config", None)
    options = {name: off for name, off in NEUTRAL.items() if getattr(theirs, name, None) not in (None, off)}
    options |= {"top_k": top_k, "temperature": temperature, "top_p": top_p} if temperature > 0 else {}
    config = GenerationConfig(
        do_sample=temperature > 0,
        max_new_tokens=step,
        pad_token_id=pad,
        eos_token_id=sorted(ends) or None,
        use_cache=True,
        return_dict_in_generate=False,
        **options,
    )
    with contiguous_states(model):
        written = model.generate(input_ids=ids, attention_mask=mask, generation_config=config, **further)
    return written[:, ids.size(1) :].tolist()


@contextmanager
def contiguous_states(model: "PreTrainedModel") -> Iterator[None]:
    """Meanwhile the head is handed contiguous hidden states. `generate` slices the last of each row, and PyTorch 2.13
    multiplies such a slice with a frozen head (under LoRA) row by row (should_fold in LinearAlgebra.cpp): 32 rows of 576
    with a vocabulary of 49,152 on one CPU thread take 0.32 s instead of 0.03, in bfloat16 7.8 instead of 0.01."""
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    if head is None:
        yield
        return
    hook = head.register_forward_pre_hook(lambda _, given: tuple(part.contiguous() for part in given))
    try:
        yield
    finally:
        hook.remove()


def left_padded(rows: Sequence[list[int]], pad: int, device: "torch.device") -> tuple["torch.Tensor", "torch.Tensor"]:
    """Ids and attention mask of rows of tokens, both (B, length of the longest)."""
    import torch

    width = max(map(len, rows))
    ids = torch.tensor([[pad] * (width - len(row)) + row for row in rows], device=device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=device)
    return ids, mask


def tokenize(
    tokenizer: "PreTrainedTokenizerBase", prompts: Sequence[Prompt], renderer: Renderer | None = None
) -> list[list[int]]:
    """Token ids of each prompt, as TRL's GRPOTrainer makes them: text as it is, conversations by the chat template.

    Raises:
        ValueError: the number of the prompt, and why it cannot be rendered or has no tokens.
    """
    renderer = renderer or Renderer(tokenizer)
    ids = []
    for number, prompt in enumerate(prompts):
        try:
            ids.append(renderer.prompt_ids(prompt))
        except ValueError as error:
            message, which = str(error), f"Prompt {number}"
            head = "The prompt"
            message = which + message.removeprefix(head) if message.startswith(head) else f"{which}: {message}"
            raise ValueError(message) from error
    return ids


def end_tokens(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> set[int]:
    """Tokens that end a text: the tokenizer's, and those of the model's generation_config (chat models: several)."""
    named = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    return {*end_ids(tokenizer.eos_token_id), *end_ids(named)}


def padding(tokenizer: "PreTrainedTokenizerBase", ends: set[int]) -> int:
    """A token to pad with; it is masked, so any will do."""
    return tokenizer.pad_token_id if tokenizer.pad_token_id is not None else min(ends, default=0)


def check_options(
    samples: int, temperature: float, top_p: float, max_new_tokens: int, batch_size: int, first_pass: int | None
) -> None:
    """Refuse numbers no text can be drawn with."""
    counts = {"samples": samples, "max_new_tokens": max_new_tokens, "batch_size": batch_size}
    for name, value in (counts | ({} if first_pass is None else {"first_pass": first_pass})).items():
        if value < 1:
            raise ValueError(f"{name}={value} draws nothing; give a whole number of at least 1.")
    if not temperature >= 0.0:
        raise ValueError(f"temperature={temperature} is negative; 0 is greedy, DeepSeek-R1 is evaluated at 0.6.")
    if not 0.0 < top_p <= 1.0:
        raise ValueError(f"top_p={top_p} is not in (0, 1]; 1 switches the nucleus off.")


@contextmanager
def own_randomness(seed: int, devices: "set[torch.device]") -> Iterator[None]:
    """Seed torch on the CPU and on ``devices`` for a while; afterwards every generator is where it was.

    ``torch.manual_seed`` would also seed devices the model is not on (and those not yet initialised, for later).
    """
    import torch

    states: list[tuple[Callable[..., Any], tuple[Any, ...]]] = [
        (torch.default_generator.set_state, (torch.default_generator.get_state(),))
    ]
    seeded = []
    for device in sorted((device for device in devices if device.type not in ("cpu", "meta")), key=str):
        module = torch.get_device_module(device.type)
        where = () if device.type == "mps" else (device,)  # there is only one mps, and it takes no address
        states.append((module.set_rng_state, (module.get_rng_state(*where), *where)))
        seeded.append((module, where))
    try:
        torch.default_generator.manual_seed(seed)
        for module, where in seeded:
            with module.device(*where) if where else nullcontext():
                module.manual_seed(seed)
        yield
    finally:
        for put_back, arguments in states:
            put_back(*arguments)


@contextmanager
def evaluation_mode(model: "PreTrainedModel") -> Iterator[None]:
    """No dropout and no gradient checkpointing for a while; every module gets its own mode back, frozen ones too."""
    from trl_r1.models.four_bit import keep_layout

    modes = [(module, module.training) for module in model.modules()]
    if model.training:  # and may be trained on: its 4-bit layers stay as they are
        keep_layout(model)
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
