"""Qwen3 with thinking off: what training samples from is what evaluation, probe, drift, rejection sampling and the server
ask, taken from each of them at work."""

import argparse
from types import SimpleNamespace

import pytest
from datasets import Dataset
from fitting_tokenizers import template_text
from parrot import parrot
from real_models import real_tokenizer
from transformers import AutoTokenizer

from trl_r1 import R1GRPOConfig, R1GRPOTrainer
from trl_r1.commands import serve
from trl_r1.data.filters import FilterLimits
from trl_r1.monitor import Monitor
from trl_r1.routing.paths import Settings
from trl_r1.runs.heldout import Probe, evaluate_shared
from trl_r1.runs.options import RLOptions
from trl_r1.serving.requests import GenerationRequest
from trl_r1.serving.service import Service
from trl_r1.stages.rejection_sampling import make
from trl_r1.stages.rejection_sampling.options import RejectionOptions


OFF = {"enable_thinking": False}
ASKED = [{"role": "user", "content": "What is 2 + 2?"}]
PROBLEM = {"prompt": ASKED, "solution": "4"}
WANTED = "<|im_start|>user\nWhat is 2 + 2?<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"


@pytest.fixture(scope="module")
def tokenizer():
    made = AutoTokenizer.from_pretrained(real_tokenizer("qwen3"))
    made.chat_template = template_text("qwen3")
    return made


@pytest.fixture(scope="module")
def model(tokenizer):
    return parrot(tokenizer, [tokenizer.eos_token_id])


@pytest.fixture(scope="module")
def trainer(tokenizer, model, tmp_path_factory):
    config = R1GRPOConfig(
        str(tmp_path_factory.mktemp("run")), chat_template_kwargs=OFF, per_device_train_batch_size=2, num_generations=2,
        max_completion_length=8, use_cpu=True, bf16=False, report_to="none", disable_tqdm=True, logging_steps=1,
    )  # fmt: skip
    rewards = [lambda completions, **columns: [1.0] * len(completions)]
    return R1GRPOTrainer(
        model, rewards, config, train_dataset=Dataset.from_list([PROBLEM]), processing_class=tokenizer
    )


@pytest.fixture(scope="module")
def trained(trainer, tokenizer):
    """The ids that training samples from."""
    return told(trainer.model, tokenizer, lambda: trainer._generate_and_score_completions([PROBLEM] * 2))


def told(model, tokenizer, work):
    """The prompt that the model is asked while something works."""
    model.say(tokenizer("4<|im_end|>")["input_ids"])
    work()
    return model.asked[0]


def test_training_asks_with_an_empty_thought(trained, tokenizer):
    assert tokenizer.decode(trained) == WANTED


def test_the_held_out_evaluation_and_the_probe_ask_the_same(trained, trainer, tokenizer):
    rows, options = Dataset.from_list([PROBLEM]), RLOptions(evaluation_samples=1, probe_every=1, probe_samples=1)
    assert told(trainer.model, tokenizer, lambda: evaluate_shared(trainer, rows, options, trainer.args)) == trained
    probe, state = Probe(trainer, rows, options), SimpleNamespace(global_step=1)
    assert told(trainer.model, tokenizer, lambda: probe.on_step_end(trainer.args, state, None)) == trained


def test_drift_is_measured_behind_the_same_prompt(trained, trainer, tmp_path):
    monitor = Monitor(trainer, folder=tmp_path, drift_every=1)
    trainer._logs["prompt"].append(ASKED)
    trainer._logs["completion"].append([{"role": "assistant", "content": "4"}])
    state = SimpleNamespace(global_step=0, is_world_process_zero=True)
    monitor.on_pre_optimizer_step(trainer.args, state, None, model=trainer.model)
    assert monitor.anchor.prompts[0] == trained


def test_rejection_sampling_asks_the_same(trained, model, tokenizer, monkeypatch, tmp_path):
    monkeypatch.setattr(make, "load_policy", lambda *given: (model, tokenizer))
    options = RejectionOptions(
        output_dir=str(tmp_path), template="chat", chat_template_kwargs=OFF, temperature=0.0, max_new_tokens=8
    )
    engine = make.make_engine(options, SimpleNamespace(), "tiny")
    assert told(model, tokenizer, lambda: engine.draw([ASKED], 1, 0)) == trained
    assert FilterLimits().prefilled_think is None  # found out


def test_the_server_asks_the_same(trained, model, tokenizer, monkeypatch):
    monkeypatch.setattr("trl_r1.models.load.find_policy", lambda name: name)
    monkeypatch.setattr("trl_r1.models.load.load_policy", lambda *given: (model, tokenizer))
    monkeypatch.setattr("trl_r1.runs.processor.tell_before_answering", lambda *given: None)
    parser = argparse.ArgumentParser()
    serve.add_arguments(parser)
    args = parser.parse_args(
        [
            "--model",
            "tiny",
            "--chat-template-kwargs",
            '{"enable_thinking": false}',
            "--temperature",
            "0",
            "--port",
            "0",
        ]
    )
    services = []
    monkeypatch.setattr("trl_r1.serving.app.build", lambda serving, *given: services.append(serving.service))
    serve.prepare(args)
    service = services[0]
    assert isinstance(service, Service)
    request, count = service.fit(GenerationRequest(ASKED, True, Settings(0.0, 1.0, 8), "tiny"))
    assert count == len(trained)
    assert told(model, tokenizer, lambda: service.run(request, count, lambda: False)) == trained
