"""Renderers for runs: what a recipe says about templates, thinking and end tokens, put into one `Renderer`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trl_r1.errors import first_line
from trl_r1.models.rendering import Renderer, end_ids, run_date
from trl_r1.models.rendering.prompts import prompt_of
from trl_r1.text.records import Json


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SUFFIXES = (".jinja", ".j2")


def renderer_of(
    tokenizer: PreTrainedTokenizerBase, config: Any, path: str = "", model: Any = None, options: Any = None
) -> Renderer:
    """The renderer of a run or of a command: the one place where their options become one.

    Prompts that show today's date show that of the day the run began, where ``config`` names its folder (`run_date`).

    Args:
        config: its ``chat_template_kwargs`` (a mapping, or JSON) and ``output_dir`` count, where it has any.
        path: of the model: its generation_config names what generation stops at.
        model: a loaded model, in place of the path.
        options: whose ``system_prompt`` counts; None takes the config's.

    Raises:
        ValueError: the chat_template_kwargs are no mapping.
    """
    template_options = read_kwargs(getattr(config, "chat_template_kwargs", None))
    system_prompt = getattr(config if options is None else options, "system_prompt", None)
    stops = (
        stop_tokens(path)
        if model is None
        else end_ids(getattr(getattr(model, "generation_config", None), "eos_token_id", None))
    )
    make = partial(
        Renderer,
        tokenizer,
        chat_template_kwargs=template_options,
        system_prompt=system_prompt,
        stop_token_ids=stops,
    )
    return run_date.dated(make, getattr(config, "output_dir", None))


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of a command that asks a model, as `renderer_of` reads them off its arguments."""
    parser.add_argument(
        "--chat-template-kwargs",
        "--chat_template_kwargs",
        metavar="JSON",
        help="for the chat template, such as '{\"enable_thinking\": false}'",
    )
    parser.add_argument(
        "--system-prompt", "--system_prompt", help="put before conversations that bring no system message of their own"
    )


def check_prompt(row: Mapping[str, Any], path: str, config: Any, options: Any) -> None:
    """Whether a model's template takes the prompts of a run, asked of one row; text needs no template.

    Args:
        path: of the model, as `find_model` returned it.

    Raises:
        ValueError: it does not, in one sentence.
    """
    prompt = prompt_of(row)
    if isinstance(prompt, str):
        return
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=getattr(config, "trust_remote_code", False))
    renderer_of(tokenizer, config, path, options=options).prompt_ids(prompt)


def keep_date(renderer: Renderer, config: Any) -> None:
    """Stores the day that the prompts of a run show, if they show today's, in its folder, and says so in a line.

    Args:
        config: output_dir and distributed_state are read; the folder is the run's own by now.
    """
    main = bool(config.distributed_state.is_main_process)
    line = run_date.keep_day(config.output_dir, renderer, main)
    if main and line is not None:
        print(line, flush=True)


def read_kwargs(value: Any) -> Json:
    """``chat_template_kwargs`` from a recipe: a mapping, JSON, or nothing.

    Raises:
        ValueError: it is something else.
    """
    try:
        read = json.loads(value) if isinstance(value, str) and value.strip() else value or {}
    except json.JSONDecodeError:
        read = None
    if not isinstance(read, Mapping):
        raise ValueError(
            f"chat_template_kwargs={value!r} is no mapping; write it as in {{enable_thinking: false}}, or as JSON on the "
            "command line."
        )
    return dict(read)


def stop_tokens(path: str) -> list[int]:
    """The end tokens that a model's generation_config names; [] where it has none."""
    from transformers import GenerationConfig

    if not path:
        return []
    try:
        stored = GenerationConfig.from_pretrained(path)
    except (OSError, ValueError):
        return []
    return end_ids(stored.eos_token_id)


def dress(tokenizer: PreTrainedTokenizerBase, config: Any) -> PreTrainedTokenizerBase:
    """The tokenizer with the recipe's ``eos_token`` and ``chat_template_path``, as TRL's trainer will dress it later:
    rows are rendered and measured with what is trained.

    Raises:
        ValueError: the end token is not in the vocabulary, or there is no template at the path.
    """
    eos, path = getattr(config, "eos_token", None), getattr(config, "chat_template_path", None)
    if path is not None and str(path).endswith(SUFFIXES):
        if not Path(path).is_file():
            raise ValueError(f"chat_template_path={str(path)!r}: there is no such file.")
        tokenizer.chat_template = Path(path).read_text(encoding="utf-8")
    elif path is not None:
        take_from(tokenizer, str(path))
    if eos is not None:
        if eos not in tokenizer.get_vocab():
            raise ValueError(f"eos_token={eos!r} is not in the tokenizer's vocabulary; name one of its tokens.")
        tokenizer.eos_token = eos
    return tokenizer


def take_from(tokenizer: PreTrainedTokenizerBase, path: str) -> None:
    """Another tokenizer's template, added tokens and end token, as `trl.clone_chat_template` takes them.

    Raises:
        ValueError: there is no tokenizer, or one without a template.
    """
    from transformers import AutoTokenizer

    try:
        source = AutoTokenizer.from_pretrained(path)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"chat_template_path={path!r} is neither a .jinja file nor a tokenizer ({first_line(error)})."
        ) from error
    if not source.chat_template:
        raise ValueError(f"chat_template_path={path!r}: that tokenizer has no chat template.")
    tokenizer.chat_template = source.chat_template
    tokenizer.add_tokens(
        [token for token in source.added_tokens_decoder.values() if token.content not in tokenizer.get_vocab()]
    )
    tokenizer.eos_token = source.eos_token
