import pickle

import pytest
import torch
from datasets import Dataset

from trl_r1.agser.reward import AGSERReward
from trl_r1.rewards.catalogue import load_reward


PROMPTS = [[{"role": "user", "content": text}] for text in ("Who wrote Medicine?", "Who is it?")]


@pytest.fixture
def reward(llama, byte_tokenizer):
    return AGSERReward(llama, byte_tokenizer, max_new_tokens=12)


def test_it_pays_agreement_with_the_answer_to_the_attentive_tokens(reward):
    scorer = reward._scorer()
    (attentive, rest), _ = reward.answers(scorer, PROMPTS)
    completions = [attentive, rest, ""]
    found = reward(completions, [PROMPTS[0]] * 3)
    assert found == [scorer.agree(c, attentive) - scorer.agree(c, rest) for c in completions]
    assert found[0] == 1.0 - scorer.agree(attentive, rest) == -found[1]
    assert found[2] == 0.0


def test_conversations_are_scored_as_texts_are(reward):
    texts = reward(["abc", "abc"], PROMPTS)
    assert reward([[{"role": "assistant", "content": "abc"}]] * 2, PROMPTS) == texts


def test_a_group_shares_its_answers_and_the_cache_keeps_them(reward, monkeypatch):
    asked = []
    monkeypatch.setattr(
        type(reward._scorer().greedy), "texts", lambda self, rows: asked.append(len(rows)) or ["x"] * len(rows)
    )
    reward(["a"] * 8, [PROMPTS[0]] * 4 + [PROMPTS[1]] * 4)
    reward(["b"] * 8, [PROMPTS[0]] * 4 + [PROMPTS[1]] * 4)
    assert asked == [4]  # two sub-queries of two prompts, once


def test_parts_are_logged_and_what_cannot_be_judged_is_none(reward):
    logged, extra = {}, {}
    prompts = [*PROMPTS, [{"role": "user", "content": "a"}]]
    found = reward(["a b", "c d", "e"], prompts, log_metric=logged.__setitem__, log_extra=extra.__setitem__)
    assert found[2] is None
    assert extra["agser_r_att"][2] is None
    assert logged["agser/r_att"] - logged["agser/r_non"] == pytest.approx((found[0] + found[1]) / 2)
    masked = AGSERReward(reward.model, reward.tokenizer, mask_truncated=3, max_new_tokens=4)
    assert masked(["ab", "abc"], PROMPTS, completion_ids=[[1, 2], [1, 2, 3]])[1] is None


def test_a_text_prompt_is_split_at_its_question(reward):
    prompts = ["User: Who wrote it? Assistant:"] * 2
    asked = reward(["a", "a"], prompts, question=["wrote it?", "another"])
    query = reward._scorer().locate([prompts[0]], ["Who wrote it?"])[0]
    assert reward._question(prompts[0], "another") == "Who wrote it?" == query.question
    assert reward._question(prompts[0], "wrote it?") == "wrote it?"
    assert len(asked) == 2


def test_it_pickles_without_its_model(monkeypatch, tmp_path, llama, byte_tokenizer):
    byte_tokenizer.save_pretrained(tmp_path)
    llama.save_pretrained(tmp_path)
    reward = load_reward("agser", model=str(tmp_path), max_new_tokens=6, name="made_up")
    points = reward(["abc"], [PROMPTS[0]])
    twin = pickle.loads(pickle.dumps(reward))
    assert twin._bound.scorer is None
    assert twin.__name__ == "made_up"
    assert len(pickle.dumps(reward)) < 2000
    assert twin(["abc"], [PROMPTS[0]]) == points


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"reference": "old"}, "reference='old' is unknown. Choose one of: frozen, policy"),
        ({"layers": "all"}, "layers='all' is unknown"),
        ({"k": 2}, "k=2 is no share"),
        ({"model": "x", "reference": "policy"}, "drop model"),
    ],
)
def test_mistakes_are_told_when_it_is_made(options, said):
    with pytest.raises(ValueError, match=said):
        load_reward("agser", **options)


def test_without_a_model_it_says_where_one_comes_from(monkeypatch):
    monkeypatch.delenv("TRL_R1_AGSER_MODEL", raising=False)
    with pytest.raises(ValueError, match=r"has no model. Give the trainer callbacks=\[reward.callback\]"):
        AGSERReward()(["a"], ["b c"])


def train(trainer, config, model, folder, reward, **options):
    rows = Dataset.from_list(
        [{"prompt": f"User: Compute {i} and {i}. Assistant:", "question": f"Compute {i} and {i}."} for i in range(4)]
    )
    arguments = config(
        str(folder), per_device_train_batch_size=8, num_generations=4, max_completion_length=8, max_steps=2,
        learning_rate=1e-2, use_cpu=True, bf16=False, report_to=[], logging_steps=1, save_strategy="no", beta=0.0,
    )  # fmt: skip
    made = trainer(model, [reward], args=arguments, train_dataset=rows, **options)
    made.train()
    return made, [row for row in made.state.log_history if "reward" in row]


def test_stock_grpo_trains_on_it(tiny, tmp_path):
    from trl import GRPOConfig, GRPOTrainer

    reward = load_reward("agser", max_new_tokens=8)
    trainer, logged = train(GRPOTrainer, GRPOConfig, tiny, tmp_path, reward, callbacks=[reward.callback])
    assert len(logged) == 2
    assert {"agser/r_att", "agser/r_non", "rewards/agser/mean"} <= set(logged[0])
    frozen = reward._scorer().greedy.model
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    name, weight = next((n, p) for n, p in trainer.model.named_parameters() if p.grad is not None or p.requires_grad)
    assert not weight.equal(dict(frozen.named_parameters())[name])  # the policy moved, the reference did not
    assert trainer.model.config._attn_implementation in ("sdpa", "eager")


@pytest.mark.parametrize("reference", ["frozen", "policy"])
def test_our_trainer_binds_it_by_itself(tiny, tmp_path, reference):
    from trl_r1 import R1GRPOConfig, R1GRPOTrainer

    reward = AGSERReward(reference=reference, max_new_tokens=8)
    trainer, logged = train(R1GRPOTrainer, R1GRPOConfig, tiny, tmp_path, reward)
    assert len(logged) == 2
    reads = reward._scorer().greedy.model
    assert (reads is trainer.model) == (reference == "policy")
    ids = torch.tensor([[5, 6, 7]])
    before = reads(ids).logits
    with torch.no_grad():
        trainer.model.get_input_embeddings().weight.zero_()
    assert torch.equal(before, reads(ids).logits) == (reference == "frozen")  # a copy that runs its own weights


def test_of_an_adapter_the_base_is_the_reference(tiny, tmp_path):
    from peft import LoraConfig
    from trl import GRPOConfig, GRPOTrainer

    reward = AGSERReward(max_new_tokens=8)
    config = LoraConfig(r=2, target_modules=["q_proj", "o_proj"])
    trainer, logged = train(
        GRPOTrainer, GRPOConfig, tiny, tmp_path, reward, callbacks=[reward.callback], peft_config=config
    )
    assert reward._scorer().greedy.model is trainer.model
    assert reward._bound.without_adapter is trainer.model
    assert len(logged) == 2


# -- hacks


def test_what_hacks_earn_is_what_the_formula_says(reward):
    from trl_r1.agser.hacks import HACKS, pay

    prompts = [*PROMPTS, [{"role": "user", "content": "x"}]]
    found = pay(reward, prompts)
    assert found.prompts == 2
    assert set(found.points) == set(HACKS)
    assert found.points["empty"] == 0.0
    assert found.points["half_read"] == -found.points["misread"] > 0.0  # 1 - a and a - 1, a their agreement
    assert found.points["half_read"] == max(found.points.values())
    assert found.guaranteed_weight == 0.5
    assert any("half_read" in line and "pays more than honesty" in line for line in found.lines())


def test_the_command_prints_them(tiny, capsys):
    from trl_r1 import cli

    given = [
        "--model",
        tiny,
        "--data",
        "mini:train-tiny",
        "--limit",
        "3",
        "--template",
        "mini",
        "--max-new-tokens",
        "4",
    ]
    assert cli.main(["agser", "hacks", *given]) == 0
    assert "keeps every right answer above every wrong one" in capsys.readouterr().out


def test_a_split_policy_is_refused_however_it_is_bound(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(ValueError, match="FSDP splits"):
        AGSERReward().begin(object(), None)
