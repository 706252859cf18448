"""The monitor in real trainers: one line in stock TRL, no change to the run, a page whose data are the log."""

import json

import pytest
import torch
from transformers import TrainerState
from trl import GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer

from trl_r1.grpo.identity import share_of_low_bytes, tiny_prompts
from trl_r1.monitor import AlarmThresholds, Monitor
from trl_r1.monitor.drift import Anchor, make_anchor, within
from trl_r1.monitor.record import every_alarm, judged_again, passed_sentence, read_alarms
from trl_r1.monitor.signals import History
from trl_r1.storage.files import read_json_lines


def accuracy(completions, **columns):
    return share_of_low_bytes(completions)


def trainer(model, folder, **options):
    settings = {
        "output_dir": str(folder), "use_cpu": True, "bf16": False, "gradient_checkpointing": False, "max_steps": 3,
        "learning_rate": 5e-3, "per_device_train_batch_size": 8, "num_generations": 4, "max_completion_length": 8,
        "logging_steps": 1, "save_strategy": "no", "report_to": "none", "disable_tqdm": True, "seed": 7,
        "dataloader_pin_memory": False, **options,
    }  # fmt: skip
    return GRPOTrainer(model, accuracy, GRPOConfig(**settings), train_dataset=tiny_prompts())


@pytest.fixture(scope="module")
def watched(tiny, tmp_path_factory):
    """A stock trainer with the monitor added in one line, after three steps."""
    folder = tmp_path_factory.mktemp("watched")
    made = trainer(tiny, folder)
    made.add_callback(Monitor(made, drift_every=1, page_seconds=0))
    made.train()
    return made, folder


def test_it_adds_its_signals_to_every_line_of_a_stock_trainer(watched):
    made, folder = watched
    steps = [row for row in made.state.log_history if "reward" in row]
    assert len(steps) == 3
    names = ("thought_tokens/p50", "steps/p90", "reflection", "reflection/wait", "drift")
    for row in steps:
        assert all(f"monitor/{name}" in row for name in names)
    # one token per byte and no tags: the thought is the completion, decoded (so a cut character may be missing)
    assert 0 < steps[0]["monitor/thought_tokens/p50"] <= 3 * 8
    assert steps[0]["monitor/drift"] != 0.0
    assert abs(steps[2]["monitor/drift"]) > abs(steps[0]["monitor/drift"])


def test_the_page_holds_the_log(watched):
    _, folder = watched
    text = (folder / "monitor.html").read_text()
    data = text.split('<script type="application/json" id="metrics">')[1].split("</script>")[0]
    assert json.loads(data) == read_json_lines(folder / "metrics.jsonl")
    assert len(json.loads(data)) == 4  # three steps and the summary
    assert "finished" in text
    assert "location.reload" not in text


def test_the_run_is_the_same_with_and_without_it(watched, tiny, tmp_path):
    made, _ = watched
    plain = trainer(tiny, tmp_path / "plain")
    plain.train()
    for key in ("loss", "grad_norm", "reward", "entropy"):
        assert [row[key] for row in made.state.log_history if key in row] == [
            row[key] for row in plain.state.log_history if key in row
        ]
    for one, other in zip(made.model.parameters(), plain.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_drift_is_zero_before_and_the_mean_log_ratio_after(tiny):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = (
        AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32),
        AutoTokenizer.from_pretrained(tiny),
    )
    model.train()
    anchor = make_anchor(model, tokenizer, ["ab", "c"], ["xyz", "no"])
    assert anchor.tokens == 5
    assert anchor.drift(model) == 0.0
    assert model.training
    with torch.no_grad():
        model.lm_head.weight.mul_(1.5)
        expected = 0.0
        for prompt, completion, before in zip(anchor.prompts, anchor.completions, anchor.logps):
            logits = model(torch.tensor([prompt + completion])).logits[0].double()
            place = len(prompt) - 1
            now = sum(logits[place + i].log_softmax(-1)[token].item() for i, token in enumerate(completion))
            expected += before - now
    assert anchor.drift(model) == pytest.approx(expected / 5, abs=1e-5)


@pytest.mark.parametrize(("budget", "kept"), [(100, [0, 1, 2, 3, 4]), (12, [0, 2, 4]), (8, [0, 4]), (1, [0, 4])])
def test_texts_are_dropped_evenly_until_they_fit_the_budget(budget, kept):
    pairs = [([1] * 2, [number] * 2) for number in range(5)]
    assert [said[0] for _, said in within(pairs, budget)] == kept


def test_an_anchor_survives_a_restart(tiny, tmp_path):
    anchor = Anchor([[1, 2]], [[3]], [-0.5])
    anchor.save(tmp_path)
    assert Anchor.load(tmp_path) == anchor
    assert Anchor.load(tmp_path / "nowhere") is None


def test_supervised_tuning_is_watched_too(tiny, tmp_path):
    config = SFTConfig(
        str(tmp_path), use_cpu=True, bf16=False, max_steps=2, per_device_train_batch_size=2, logging_steps=1,
        report_to="none", save_strategy="no", disable_tqdm=True, max_length=32, dataloader_pin_memory=False,
        gradient_checkpointing=False,
    )  # fmt: skip
    rows = tiny_prompts().map(lambda row: {"text": row["prompt"]}, remove_columns=["prompt"])
    tuning = SFTTrainer(tiny, args=config, train_dataset=rows, callbacks=[Monitor()])
    tuning.train()
    assert "Imitation" in (tmp_path / "monitor.html").read_text()
    assert len(read_json_lines(tmp_path / "metrics.jsonl")) == 3


def state(step, history=()):
    return TrainerState(global_step=step, is_world_process_zero=True, log_history=list(history), max_steps=100)


class Arguments:
    def __init__(self, folder):
        self.output_dir = str(folder)


def collapse(step):
    return {"entropy": 0.7 if step <= 10 else 0.05, "reward": 0.3, "loss": 0.0, "rewards/accuracy/mean": 0.1}


def feed(monitor, arguments, first, last):
    for step in range(first, last + 1):
        monitor.on_log(arguments, state(step), None, logs=collapse(step))


def test_an_alarm_is_raised_once_written_and_told(tmp_path, caplog):
    monitor, arguments = Monitor(page_seconds=0), Arguments(tmp_path)
    monitor.on_train_begin(arguments, state(0), None)
    feed(monitor, arguments, 1, 30)
    [row] = read_alarms(tmp_path)
    assert (row["name"], row["step"], row["level"]) == ("entropy_collapse", 14, "alarm")  # mean of 10..14 is 0.18
    assert "ALARM at step 14, entropy_collapse:" in caplog.text
    assert "entropy collapse" in (tmp_path / "monitor.html").read_text()
    assert "location.reload" in (tmp_path / "monitor.html").read_text()
    monitor.on_train_end(arguments, state(30), None)
    assert "location.reload" not in (tmp_path / "monitor.html").read_text()


def test_the_end_of_a_run_disproves_an_alarm_or_bears_it_out(tmp_path):
    """Entropy falls to a tenth by step 20; right answers rise only later, from 52 to 96 %, or not at all."""

    def line(step, end):
        right = 0.52 if step <= 30 else 0.52 + (end - 0.52) * (step - 30) / 30
        return {"step": step, "loss": 0.0, "reward": right, "rewards/accuracy/mean": right,
                "entropy": 0.7 if step < 10 else 0.07}  # fmt: skip

    monitor, arguments = Monitor(page_seconds=60), Arguments(tmp_path)
    monitor.on_train_begin(arguments, state(0), None)
    for step in range(1, 61):
        monitor.on_log(arguments, state(step), None, logs=line(step, 0.96))
    rows = read_alarms(tmp_path)
    assert [row["name"] for row in rows] == ["entropy_collapse"]
    assert judged_again(rows, monitor.history, monitor.limits) == ([], rows)
    assert read_alarms(tmp_path) == rows  # kept in the history
    assert passed_sentence(rows[0]).startswith(f"Passed: entropy_collapse was raised at step {rows[0]['step']} (")
    stayed = History.of(line(step, 0.52) for step in range(1, 61))
    assert judged_again(rows, stayed, monitor.limits) == (rows, [])


def test_an_alarm_that_passed_and_came_back_is_raised_again(tmp_path):
    monitor, arguments = Monitor(limits=AlarmThresholds(width=3)), Arguments(tmp_path)
    monitor.on_train_begin(arguments, state(0), None)
    for step in range(1, 41):
        entropy = 0.05 if 10 < step <= 15 or step > 30 else 0.7
        monitor.on_log(arguments, state(step), None, logs={**collapse(step), "entropy": entropy})
    assert [row["step"] for row in read_alarms(tmp_path)] == [13, 33]


def test_a_resumed_run_knows_its_past_and_forgets_a_future_that_did_not_happen(tmp_path):
    monitor, arguments = Monitor(), Arguments(tmp_path)
    monitor.on_train_begin(arguments, state(0), None)
    feed(monitor, arguments, 1, 30)
    past = [{"step": step, **collapse(step)} for step in range(1, 13)]
    again = Monitor()
    again.on_train_begin(arguments, state(12, past), None)
    assert read_alarms(tmp_path) == []
    feed(again, arguments, 13, 20)
    assert [row["step"] for row in read_alarms(tmp_path)] == [14]
    resumed = Monitor()
    resumed.on_train_begin(arguments, state(20, [{"step": s, **collapse(s)} for s in range(1, 21)]), None)
    feed(resumed, arguments, 21, 30)
    assert [row["step"] for row in read_alarms(tmp_path)] == [14]  # it stood already
    anew = Monitor()
    anew.on_train_begin(arguments, state(0), None)
    assert read_alarms(tmp_path) == []


def test_the_preference_alarm_is_shown_among_the_others(tmp_path):
    row = {"step": 9, "preference": "helpfulness", "rule": "accuracy", "rise": 0.5, "fall": 0.25}
    (tmp_path / "alarms.jsonl").write_text(json.dumps(row) + "\n")
    [found] = every_alarm(tmp_path)
    assert found["name"] == "preference_up_rule_down"
    assert "helpfulness rose by 0.5" in found["seen"]


def test_only_the_main_process_writes(tmp_path):
    monitor, arguments = Monitor(), Arguments(tmp_path)
    other = TrainerState(global_step=0, is_world_process_zero=False)
    monitor.on_train_begin(arguments, other, None)
    for step in range(1, 31):
        other.global_step = step
        monitor.on_log(arguments, other, None, logs=collapse(step))
    assert list(tmp_path.iterdir()) == []
    assert set(monitor.active) == {"entropy_collapse"}  # but it knows


def test_bad_options_are_told():
    with pytest.raises(ValueError, match="most_texts=0 must be 1 or more"):
        Monitor(most_texts=0)
