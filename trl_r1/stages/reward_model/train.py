"""One reward model: rows in, a trained scalar head and its scores on held-out texts out.

Rows are tokenized by `rewards.classifier.Classifier.encode`, the very function the reward `preference` reads replies
with later, so training and use cannot drift apart (template, separators, cut ends).
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    PrinterCallback,
    ProgressCallback,
    Trainer,
    set_seed,
)
from trl import ModelConfig, RewardConfig, RewardTrainer, get_quantization_config

from trl_r1.evaluation.metrics_log import MetricsLog
from trl_r1.models.adapters import SameTypes
from trl_r1.models.classifier import Classifier
from trl_r1.models.options import adapter_config
from trl_r1.rewards.preference import _as_text, conversation
from trl_r1.runs.heldout import ProgressLine
from trl_r1.storage.checkpoints import newest_complete, train
from trl_r1.storage.files import replace_file
from trl_r1.text.records import Row


HELPFUL, HARMLESS = "helpfulness", "harmlessness"
SHOWN = {"loss": "loss", "accuracy": "pairs right", "learning_rate": "lr"}


class R1RewardTrainer(SameTypes, RewardTrainer):
    """TRL's `RewardTrainer` that resumes onto the same trajectory with QLoRA too."""


class LabelTrainer(SameTypes, Trainer):
    """transformers' `Trainer`, of labelled texts, that does so."""


def train_one(
    name: str,
    path: str,
    config: RewardConfig,
    model: ModelConfig,
    rows: list[Row],
    held_out: list[tuple[Any, str]],
) -> dict[str, list[float]]:
    """Trains one model in its own folder and scores the held-out texts before and after.

    Args:
        rows: with prompt, chosen and rejected, or with prompt, text and labels.
        held_out: (prompt, text).

    Returns:
        raw scores under "before" (the untrained head) and "after".
    """
    folder = Path(config.output_dir) / name
    stored = folder / "held_out.json"
    if stored.is_file():
        return json.loads(stored.read_text(encoding="utf-8"))
    own = copy.copy(config)
    own.output_dir = str(folder)
    own.model_init_kwargs = None
    set_seed(config.seed)
    network, tokenizer = build(path, own, model, "helpful" if name == HELPFUL else "safe")
    reader = Classifier(network, tokenizer, str(own.device), own.max_length or 2048)
    network.train()
    log = MetricsLog(folder)
    trainer: R1RewardTrainer | LabelTrainer
    if name == HELPFUL:
        trainer = R1RewardTrainer(
            model=network,
            args=own,
            train_dataset=Dataset.from_list(
                [
                    {f"{side}_ids": encode(reader, row["prompt"], row[side]) for side in ("chosen", "rejected")}
                    for row in rows
                ]
            ),
            processing_class=tokenizer,
            callbacks=[log],
        )
    else:
        own.remove_unused_columns = False
        trainer = LabelTrainer(
            model=network,
            args=own,
            train_dataset=Dataset.from_list(
                [{"input_ids": encode(reader, row["prompt"], row["text"]), "labels": row["labels"]} for row in rows]
            ),
            data_collator=DataCollatorWithPadding(tokenizer),
            processing_class=tokenizer,
            callbacks=[log],
        )
    head_in_the_models_precision(network)
    trainer.remember_types()
    trainer.remove_callback(ProgressCallback)
    trainer.remove_callback(PrinterCallback)
    if not own.disable_tqdm:
        trainer.add_callback(ProgressLine(SHOWN))
    main = own.distributed_state.is_main_process
    resume = newest_complete(folder) if folder.is_dir() else None
    earlier = folder / "held_out_before.json"
    if earlier.is_file():
        before = json.loads(earlier.read_text(encoding="utf-8"))
    else:
        before = score(trainer, reader, held_out)
        if main:
            replace_file(earlier, json.dumps(before))
    own.distributed_state.wait_for_everyone()
    train(trainer, resume)
    trainer.save_model(str(folder))
    measured = {"before": before, "after": score(trainer, reader, held_out)}
    if main:
        replace_file(stored, json.dumps(measured))
    own.distributed_state.wait_for_everyone()
    return measured


def build(path: str, config: RewardConfig, model: ModelConfig, label: str) -> tuple[Any, Any]:
    """A model with one fresh logit, as LoRA or QLoRA where the recipe says so, and its tokenizer."""
    quantization = get_quantization_config(model)
    options = {
        "dtype": model.dtype,
        "attn_implementation": model.attn_implementation,
        "revision": model.model_revision,
        "quantization_config": quantization,
        "device_map": {"": str(config.device)} if quantization is not None else None,
        "trust_remote_code": config.trust_remote_code,
    }
    network = AutoModelForSequenceClassification.from_pretrained(
        path,
        num_labels=1,
        id2label={0: label},
        label2id={label: 0},
        problem_type="multi_label_classification",  # with one label: binary cross-entropy on one logit
        **{key: value for key, value in options.items() if value is not None},
    )
    tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=config.trust_remote_code)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    network.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    tokenizer.padding_side = "right"
    network.config.use_cache = False
    adapter = adapter_config(model)
    if adapter is not None:
        from peft import get_peft_model

        adapter.task_type = "SEQ_CLS"  # so that the head is trained and saved with the adapter
        network = get_peft_model(network, adapter)
        if config.gradient_checkpointing:
            network.enable_input_require_grads()
    return network, tokenizer


def head_in_the_models_precision(network: Any) -> None:
    """The trained head reads hidden states as they come; RewardTrainer makes everything trainable bfloat16 under QLoRA."""
    dtype = network.get_input_embeddings().weight.dtype
    for name, parameter in network.named_parameters():
        if parameter.requires_grad and ".modules_to_save." in name:
            parameter.data = parameter.data.to(dtype)


def encode(reader: Classifier, prompt: Any, text: str) -> list[int]:
    """Token ids of a row, as the reward `preference` will read it."""
    chat = bool(reader.tokenizer.chat_template)
    return reader.encode(conversation(prompt) if chat else _as_text(prompt), text, chat)["input_ids"]


def score(trainer: Trainer, reader: Classifier, texts: list[tuple[Any, str]]) -> list[float]:
    """Raw scores of (prompt, text) pairs by the model that is being trained."""
    chat = bool(reader.tokenizer.chat_template)
    conversations = [(conversation(prompt) if chat else _as_text(prompt), text) for prompt, text in texts]
    network = trainer.accelerator.unwrap_model(trainer.model)
    training, reader.model = network.training, network.eval()
    try:
        logits = reader.logits(conversations, trainer.args.per_device_eval_batch_size, chat)[:, 0]
    finally:
        network.train(training)
    if not bool(torch.isfinite(logits).all()):
        raise RuntimeError(
            "A held-out reply has no finite score: the model has diverged. Lower learning_rate, or check the data."
        )
    return [float(value) for value in logits]
