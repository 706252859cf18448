"""Every shipped recipe on real tokenizers: the prompt that generation reads is the beginning of what is trained on."""

import functools
import json
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from datasets import Dataset, disable_progress_bars
from places import ROOT
from real_models import FILES, TOKENIZERS, real_tokenizer
from transformers import AutoTokenizer
from trl import GRPOTrainer

from trl_r1.data.columns import to_prompts
from trl_r1.data.imitation import ids_and_mask, to_imitate
from trl_r1.models.rendering import Renderer
from trl_r1.models.sampling import tokenize
from trl_r1.stages.cold_start.sources import lay_out
from trl_r1.text.completions import THINK


RECIPES = sorted(path.relative_to(ROOT / "recipes") for path in (ROOT / "recipes").rglob("*.yaml"))
QUESTION, ANSWER = "What is 2 + 2?", "4"
disable_progress_bars()


def values(content, key):
    """All values of a key, however deep."""
    if isinstance(content, dict):
        own = [content[key]] if key in content else []
        return own + [found for part in content.values() for found in values(part, key)]
    return [found for part in content for found in values(part, key)] if isinstance(content, list) else []


def templates_of(recipe):
    """The templates of ours that a recipe puts its questions into; the model's own is not a recipe's to promise."""
    content = yaml.safe_load((ROOT / "recipes" / recipe).read_text(encoding="utf-8"))
    return content, [name for name in dict.fromkeys(values(content, "template")) if name != "chat"]


ASKING = [recipe for recipe in RECIPES if templates_of(recipe)[1]]


@functools.cache
def tokenizer_of(name):
    """A real tokenizer; for qwen3 Qwen2.5's, which is the same without the tokens of a thought."""
    if name != "qwen3":
        return AutoTokenizer.from_pretrained(real_tokenizer(name))
    with tempfile.TemporaryDirectory() as folder:
        for file in FILES:
            content = json.loads((real_tokenizer(name) / file).read_text(encoding="utf-8"))
            tokens = content.get("added_tokens", content.get("added_tokens_decoder"))
            listed = tokens.items() if isinstance(tokens, dict) else enumerate(tokens)
            thinks = [key for key, token in listed if token["content"] in THINK]
            assert len(thinks) == 2
            for key in reversed(thinks):
                del tokens[key]
            (Path(folder) / file).write_text(json.dumps(content), encoding="utf-8")
        return AutoTokenizer.from_pretrained(folder)


def sampled_from(tokenizer, prompt):
    """What stock GRPOTrainer reads before it samples."""
    trainer = SimpleNamespace(processing_class=tokenizer, _is_vlm=False, environment_factories=None, tools=None)
    trainer.chat_template, trainer.chat_template_kwargs = None, {}
    return GRPOTrainer._tokenize_prompts(trainer, [prompt])[0][0]


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("recipe", ASKING, ids=str)
def test_the_ids_of_the_prompt_begin_the_ids_that_are_trained_on(recipe, name):
    tokenizer, (content, templates) = tokenizer_of(name), templates_of(recipe)
    completion = lay_out("two and two", ANSWER, next(iter(values(content, "layout")), "answer"))
    for template in templates:
        problem = {"question": QUESTION, "solution": ANSWER}
        (asked,) = to_prompts(Dataset.from_list([problem]), "question", "solution", template)
        (row,) = to_imitate(Dataset.from_list([{"question": QUESTION, "completion": completion}]), template=template)
        prompt = sampled_from(tokenizer, asked["prompt"])
        made = ids_and_mask(row, 0, Renderer(tokenizer), False, "the rows")
        assert made["input_ids"][: len(prompt)] == prompt == tokenize(tokenizer, [asked["prompt"]])[0]
        assert made["completion_mask"] == [0] * len(prompt) + [1] * (len(made["input_ids"]) - len(prompt))
        labels = tokenizer.decode(made["input_ids"][len(prompt) :], skip_special_tokens=False)
        assert labels == completion + tokenizer.eos_token


def test_stock_tokenization_of_prompt_and_completion_as_one_text_would_not_pass():
    """Which keeps the test above from being one that nothing can fail."""
    tokenizer = tokenizer_of("qwen3")
    prompt = "User: What is 2 + 2?\nAssistant:"
    ids = tokenizer(prompt)["input_ids"]
    assert tokenizer(prompt + "<think>")["input_ids"][: len(ids)] != ids
