"""A tiny random sequence-classification checkpoint, for tests; its head's bias can be set, so scores can be foreseen."""

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
)


CHAT_TEMPLATE = "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"


def byte_tokenizer(segments: bool, chat: bool = False) -> PreTrainedTokenizerFast:
    """One token per byte; with segments also [CLS] and [SEP]."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["[PAD]", "[CLS]", "[SEP]"]
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(special + alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    options = {"pad_token": "[PAD]"}
    if segments:
        options |= {"cls_token": "[CLS]", "sep_token": "[SEP]"}
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
        )
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **options)
    fast.chat_template = CHAT_TEMPLATE if chat else None
    return fast


def save(folder, labels=("bad", "good"), bias=None, decoder=False, chat=False, headless=False, positions=256) -> str:
    """Saves a checkpoint and returns its path. With ``bias`` the head ignores the text: its logits are the bias."""
    tokenizer = byte_tokenizer(segments=not decoder, chat=chat)
    sizes = {"vocab_size": len(tokenizer), "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
             "intermediate_size": 16, "max_position_embeddings": positions, "pad_token_id": 0,
             "initializer_range": 0.5, "id2label": dict(enumerate(labels)),
             "label2id": {name: i for i, name in enumerate(labels)}}  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if headless:
            model = LlamaForCausalLM(LlamaConfig(**sizes))
        elif decoder:
            model = LlamaForSequenceClassification(LlamaConfig(**sizes))
        else:
            model = BertForSequenceClassification(BertConfig(**sizes))
    if bias is not None:
        with torch.no_grad():
            model.classifier.weight.zero_()
            model.classifier.bias.copy_(torch.tensor(bias))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)
