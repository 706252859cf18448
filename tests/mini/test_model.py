"""The mini base model: an ordinary checkpoint, the same for a seed, never half there."""

import json
import subprocess
import sys

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from trl_r1.mini import model, world
from trl_r1.mini.corpus import draw_corpus
from trl_r1.mini.model import build_base, build_tokenizer


TEXT = "User: 计算 ①2 ②9 ③4。 Assistant:<think> ①2 add ②9=11再加上 ③4=15</think> <answer>15</answer> naïve 😀"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return build_base(tmp_path_factory.mktemp("mini") / "base", seed=3, scale="tiny")


def test_auto_classes_read_what_was_trained(base):
    documents = draw_corpus(model.SCALES["tiny"].documents, seed=3)
    trained, loaded = build_tokenizer(documents, model.SCALES["tiny"].vocabulary), AutoTokenizer.from_pretrained(base)
    assert loaded(TEXT)["input_ids"] == trained(TEXT)["input_ids"]
    assert loaded.decode(loaded(TEXT)["input_ids"]) == TEXT
    assert (loaded.pad_token, loaded.eos_token, loaded.padding_side) == ("<|pad|>", "<|endoftext|>", "left")
    weights = AutoModelForCausalLM.from_pretrained(base)
    assert {parameter.dtype for parameter in weights.parameters()} == {torch.float32}
    assert weights.config.vocab_size == len(loaded)
    assert weights.generation_config.eos_token_id == loaded.eos_token_id
    cost = json.loads((base / "mini.json").read_text())
    assert (cost["seed"], cost["scale"]) == (3, "tiny")


def test_terms_and_numbers_are_one_token_each_even_at_the_tiny_scale(base):
    tokenizer = AutoTokenizer.from_pretrained(base)
    pieces = [world.name_term(place, digit) for place in range(6) for digit in world.DIGITS]
    pieces += [str(number) for number in range(100)]
    assert [piece for piece in pieces if len(tokenizer(piece)["input_ids"]) != 1] == []


def test_tags_are_one_token_each_and_survive_trl_decoding(base):
    tokenizer = AutoTokenizer.from_pretrained(base)
    reply = world.gold_reply(world.Problem((2, 9, 4), "en"))
    ids = tokenizer(reply)["input_ids"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == reply
    assert sum(token in ids for token in tokenizer.convert_tokens_to_ids(list(model.TAGS))) == 4


def test_the_generation_prompt_is_the_zero_template(base):
    tokenizer = AutoTokenizer.from_pretrained(base)
    question = world.Problem((2, 9, 4), "zh").question
    turns = [{"role": "user", "content": question}]
    prompt = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert prompt == world.PROMPT_TEMPLATE.format(question=question)
    turns.append({"role": "assistant", "content": "<think></think> <answer>15</answer>"})
    assert tokenizer.apply_chat_template(turns, tokenize=False) == prompt + turns[1]["content"] + "<|endoftext|>"


def test_a_seed_gives_the_same_folder_whatever_the_callers_threads_and_leaves_his_generator_alone(base, tmp_path):
    torch.manual_seed(11)
    expected = torch.rand(1)
    torch.manual_seed(11)
    torch.set_num_threads(2)
    try:
        again = build_base(tmp_path / "again", seed=3, scale="tiny")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert torch.equal(torch.rand(1), expected)
    other = build_base(tmp_path / "other", seed=4, scale="tiny")
    for name in ("model.safetensors", "tokenizer.json"):
        assert (again / name).read_bytes() == (base / name).read_bytes()
    assert (other / "model.safetensors").read_bytes() != (base / "model.safetensors").read_bytes()


def test_the_loss_sees_replies_only(base):
    tokenizer = AutoTokenizer.from_pretrained(base)
    (document,) = draw_corpus(1, seed=0)
    ((ids, targets),) = model.batches([document], tokenizer, step_tokens=512, seed=0)
    prompt = len(tokenizer(document.prompt)["input_ids"])
    assert targets[0, :prompt].tolist() == [-100] * prompt
    assert tokenizer.decode(targets[0, prompt:]) == document.reply + "<|endoftext|>"
    assert torch.equal(ids[0, prompt:], targets[0, prompt:])


def test_training_teaches_the_shape_of_a_reply(base):
    """A uniform guess costs ln(512) = 6.2 nats per token; seconds of training leave less than half of it."""
    tokenizer, weights = AutoTokenizer.from_pretrained(base), AutoModelForCausalLM.from_pretrained(base)
    problem = world.Problem((2, 9, 4), "en")
    prompt = tokenizer(world.PROMPT_TEMPLATE.format(question=problem.question))["input_ids"]
    ids, targets = model.pad([(prompt, tokenizer(world.gold_reply(problem))["input_ids"])], tokenizer.pad_token_id)
    with torch.no_grad():
        assert weights(input_ids=ids, labels=targets).loss < 3.1


def test_a_build_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(model, "train", fail)
        with pytest.raises(KeyboardInterrupt):
            build_base(tmp_path / "base", seed=0, scale="tiny")
    assert [entry.name for entry in tmp_path.iterdir() if not entry.name.endswith(".lock")] == []
    assert torch.get_num_threads() == 1
    assert (build_base(tmp_path / "base", seed=0, scale="tiny") / "model.safetensors").exists()


def test_while_one_process_builds_another_waits_and_finds_the_whole_folder(tmp_path, monkeypatch):
    code = """
import sys, time, pathlib, filelock
folder = pathlib.Path(sys.argv[1])
with filelock.FileLock(f"{folder}.lock"):
    print("building", flush=True)
    time.sleep(1.0)
    folder.mkdir()
    (folder / "config.json").write_text("theirs")
"""
    path = tmp_path / "base"
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "building\n"
        monkeypatch.setattr(model, "pretrain", lambda *arguments: pytest.fail("built a second time"))
        assert (build_base(path, 0, "tiny") / "config.json").read_text() == "theirs"


def test_a_build_holds_the_lock_and_shows_no_folder_before_it_is_done(tmp_path, monkeypatch):
    path, seen = tmp_path / "base", []

    def pretrain(folder, seed, scale):
        (folder / "config.json").write_text("half")
        code = "import sys, filelock; filelock.FileLock(sys.argv[1]).acquire(timeout=0)"
        asked = subprocess.run([sys.executable, "-c", code, f"{path}.lock"], capture_output=True, text=True)
        seen.extend([path.exists(), "could not be acquired" in asked.stderr])
        return {}

    monkeypatch.setattr(model, "pretrain", pretrain)
    build_base(path, 0, "tiny")
    assert seen == [False, True]
    assert (path / "config.json").exists()


def test_an_unknown_scale_is_named_with_the_choices(tmp_path):
    with pytest.raises(ValueError, match="no scale 'huge'. Choose one of: demo, tiny"):
        build_base(tmp_path / "base", scale="huge")
