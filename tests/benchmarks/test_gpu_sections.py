"""benchmarks/gpu.py: planned by minutes, every section apart, results that survive a death, a second call that goes on."""

import json
import os
import shutil
import signal
import sys
import threading
import time
from types import SimpleNamespace

import pytest
import torch
from places import ROOT


sys.path.insert(0, str(ROOT / "benchmarks"))
import gpu
from gpu_sections.budget import following, plan
from gpu_sections.catalogue import SECTIONS, Section, Setting
from gpu_sections.device import Meter
from gpu_sections.headers import HEADER, write_figures
from gpu_sections.ladder import climb, enlarged, largest_batches
from gpu_sections.processes import run_apart
from gpu_sections.ratio import scaled
from gpu_sections.record import Record
from gpu_sections.steps import computed_rollout
from gpu_sections.watch import filled


IDENTITY = {"card": "a card", "device": "cpu", "tiny": True}


def measures(value):
    def measure(setting, note):
        note(value=value)

    return measure


def dies_of(how):
    def measure(setting, note):
        note(before=1)
        how()
        note(after=2)

    return measure


def raises():
    raise ValueError("no room\nat all")


def kills_itself():
    os.kill(os.getpid(), signal.SIGKILL)


def section(name, measure=None, seconds=1, limit=60):
    return Section(name, name, seconds, limit, measure or measures(name))


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder, and nothing imported beforehand."""
    monkeypatch.setattr(gpu, "preload", lambda device: "fork")
    return Setting("cpu", False, tmp_path / "scratch"), tmp_path / "out"


def measured(sections, place, minutes=8, again=(), identity=IDENTITY):
    setting, folder = place
    record = Record(folder, identity)
    gpu.measure(sections, record, setting, minutes, again)
    return json.loads((folder / "gpu.json").read_text())


# -- the budget ---------------------------------------------------------------------------------------------------------


def test_minutes_are_planned_by_priority_and_a_short_section_may_fit_where_a_long_one_does_not():
    sections = [section("a", seconds=100), section("b", seconds=300), section("c", seconds=60)]
    assert plan(sections, (), 200) == (["a", "c"], ["b"])
    assert plan(sections, {"a"}, 400) == (["b", "c"], [])
    assert following(sections, {"a"}, 59) is None


def test_eight_minutes_are_enough_for_what_comes_first_and_the_rest_is_named():
    chosen, left_out = plan(SECTIONS, (), 480)
    assert chosen[:6] == ["machine", "identity", "gradients", "rollout", "zero", "ratio"]
    assert left_out
    assert {*chosen, *left_out} == {one.name for one in SECTIONS}


def test_what_finds_no_time_is_left_out_and_named(place):
    record = measured([section("first"), Section("long", "long", 90, 90, measures(1))], place, minutes=1)
    assert record["left_out"] == ["long"]
    assert list(record["sections"]) == ["first"]


# -- every section apart ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("victim", [0, 1, 2])
@pytest.mark.parametrize(
    ("how", "status", "error"), [(kills_itself, "killed", "by SIGKILL"), (raises, "failed", "ValueError: no room")]
)
def test_a_section_that_dies_leaves_the_others_results_and_its_own_so_far(place, victim, how, status, error):
    names = ["one", "two", "three"]
    sections = [section(name, dies_of(how) if at == victim else None) for at, name in enumerate(names)]
    kept = measured(sections, place)["sections"]
    assert [kept[name]["status"] for name in names if name != names[victim]] == ["finished", "finished"]
    assert [kept[name]["figures"] for name in names if name != names[victim]] == [
        {"value": name} for name in names if name != names[victim]
    ]
    dead = kept[names[victim]]
    assert (dead["status"], dead["error"], dead["figures"]) == (status, error, {"before": 1})


def test_a_section_out_of_time_is_ended_with_the_processes_it_started(place):
    setting, folder = place

    def measure(setting, note):
        child = os.fork()
        if child == 0:
            time.sleep(60)
        note(child=child)
        time.sleep(60)

    outcome = run_apart(section("slow", measure), setting, folder, limit=0.5)
    assert (outcome.status, outcome.error) == ("out of time", "ended after 0 s")
    assert outcome.seconds < 10
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and is_running(outcome.figures["child"]):
        time.sleep(0.02)
    assert not is_running(outcome.figures["child"])


def test_a_real_section_that_is_killed_leaves_the_real_ones_beside_it(place):
    known = {one.name: one for one in SECTIONS}
    setting, folder = place

    def killed(setting, note):
        threading.Timer(0.3, kills_itself).start()  # long before its first step
        known["identity"].measure(setting, note)

    sections = [known["machine"], section("identity", killed), known["attribution"]]
    kept = measured(sections, (Setting("cpu", True, setting.scratch), folder))["sections"]
    assert [kept[name]["status"] for name in ("machine", "identity", "attribution")] == [
        "finished", "killed", "finished",
    ]  # fmt: skip
    assert kept["machine"]["figures"]["versions"]["torch"] == torch.__version__
    assert kept["attribution"]["figures"]["rows"]["sdpa, float32"]["relative_error"] < 1e-5
    assert "rows" not in kept["identity"]["figures"]


def is_running(process):
    try:
        with open(f"/proc/{process}/stat") as told:
            return told.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_what_a_section_prints_stays_in_its_log(place, capfd):
    setting, folder = place
    run_apart(section("loud", lambda setting, note: print("hello")), setting, folder, limit=30)
    assert (folder / "loud.log").read_text() == "hello\n"
    assert capfd.readouterr().out == ""


# -- a second call ------------------------------------------------------------------------------------------------------


def test_a_second_call_goes_on_with_what_failed_or_had_no_time(place):
    first = [section("done"), section("broken", dies_of(raises)), Section("late", "late", 90, 90, measures(1))]
    measured(first, place, minutes=1)
    second = [section("done", measures("again")), section("broken", measures("mended")), section("late")]
    record = measured(second, place)
    assert {name: kept["figures"] for name, kept in record["sections"].items()} == {
        "done": {"value": "done"},
        "broken": {"value": "mended"},
        "late": {"value": "late"},
    }
    assert record["left_out"] == []


def test_a_finished_section_is_measured_anew_when_asked(place):
    measured([section("done")], place)
    assert measured([section("done", measures("new"))], place, again=["done"])["sections"]["done"]["figures"] == {
        "value": "new"
    }


def test_figures_of_another_card_are_not_mixed(place):
    measured([section("done")], place)
    with pytest.raises(ValueError, match="measured with card='a card', and this call has 'another'"):
        measured([section("done")], place, identity={**IDENTITY, "card": "another"})


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--only", "memory"], "There is no section 'memory'. Sections: machine, identity"),
        (["--device", "cpu"], "Add --tiny"),
        (["--write", "--output", "nowhere"], "There is no nowhere/gpu.json"),
    ],
)
def test_a_mistake_is_answered_with_one_sentence(arguments, sentence, capsys):
    assert gpu.main(arguments) == 2
    told = capsys.readouterr().err
    assert sentence in told
    assert told.count("\n") == 1


# -- figures where readers look -----------------------------------------------------------------------------------------

STEPS = {
    "micro_batch": 8, "accumulated": 16, "accumulated_by_recipe": 16, "max_steps": 1000, "training_peak_gib": 14.25,
    "rollout_peak_gib": 9.5, "recipe_step_seconds": 63.0, "trained_tokens_per_second": 9000.0,
    "generated_tokens_per_second": 2000.0, "rollout_scaled_from": None,
    "largest_micro_batch": {"24 GB": 12, "48 GB": 32, "peaks_gib": {"12": 20.0}},
}  # fmt: skip
ARM = {"step_seconds": 60.0, "generation_seconds": 40.0, "training_seconds": 20.0, "generated_tokens_per_second": 800.0,
       "trained_tokens_per_second": 9000.0, "training_peak_gib": 14.0, "rollout_peak_gib": 9.0}  # fmt: skip
RATIO = {
    "rows": 128, "longest": 1024, "mean_length": 250.0, "dead_groups": "half", "ours": ARM, "stock": ARM, "ratio": 3.5,
    "stock_generation": "scaled from 128 tokens",
}  # fmt: skip


def kept(figures, status="finished"):
    return {
        "status": status,
        "seconds": 1.0,
        "figures": figures,
        "error": None,
        "date": "2026-12-01",
        "commit": "abc1234",
    }


def record_of(**sections):
    return {"card": "NVIDIA H200", "device": "cuda", "tiny": False, "sections": sections, "left_out": []}


@pytest.fixture
def checkout(tmp_path):
    """The files that figures are written into."""
    root = tmp_path / "checkout"
    shutil.copytree(ROOT / "recipes", root / "recipes")
    for name in ("docs/performance.md", "README.md"):
        (root / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(ROOT / name, root / name)
    return root


def test_figures_are_written_with_card_date_and_commit_and_a_second_time_changes_nothing(checkout):
    content = record_of(zero=kept(STEPS), ratio=kept(RATIO), sft=kept(STEPS, "killed"))
    assert write_figures(content, checkout) == ["recipes/zero.yaml", "docs/performance.md", "README.md"]
    header = (checkout / "recipes/zero.yaml").read_text().partition("\n\n")[0]
    assert "NOT MEASURED" not in header
    told = " ".join(header.replace("\n#", " ").split())
    assert (
        "Measured NVIDIA H200, 2026-12-01, abc1234, random weights: training takes 14.25 GiB; a rollout 9.5; a step of "
        "its whole length 63 s; 1,000 steps about 17.5 h; largest micro-batch 12 on 24 GB, 32 on 48 GB Expect"
    ) in told
    readme = " ".join((checkout / "README.md").read_text().split())
    assert "3.5 times as fast as stock TRL's, in 14.25 GiB (NVIDIA H200, 2026-12-01, abc1234; stock's gen" in readme
    assert "| stock | 60.0 |" in (checkout / "docs/performance.md").read_text()
    assert "NOT MEASURED" in (checkout / "recipes/sft.yaml").read_text()
    assert write_figures(content, checkout) == []


def test_newer_figures_take_the_place_of_older_ones_and_nothing_else_changes(checkout):
    before = (checkout / "recipes/zero.yaml").read_text()
    write_figures(record_of(zero=kept(STEPS)), checkout)
    write_figures(record_of(zero=kept({**STEPS, "training_peak_gib": 3.0})), checkout)
    after = (checkout / "recipes/zero.yaml").read_text()
    assert "3.0 GiB" in after
    assert "14.25" not in after
    assert HEADER.sub("", after) == HEADER.sub("", before)


def test_every_gpu_recipe_has_a_place_for_its_figures(checkout):
    names = sorted(path.stem for path in (checkout / "recipes").glob("*.yaml"))
    sections = {name: kept(STEPS) for name in names if name not in ("pipeline", "evaluate", "rejection_sampling")}
    batch = {"model": "Qwen2.5-1.5B", "rows": 64, "longest": 2048, "peak_gib_computed": 21.0, "scaled_from": 128,
             "generated_tokens_per_second": 900.0, "batch_seconds_scaled": 90.0}  # fmt: skip
    sections |= {name: kept(batch) for name in ("evaluate", "rejection_sampling", "teacher")}
    changed = write_figures(record_of(**sections), checkout)
    assert changed[: len(names)] == [f"recipes/{name}.yaml" for name in names]
    for name in names:
        assert "NOT MEASURED" not in (checkout / "recipes" / f"{name}.yaml").read_text()
        assert max(map(len, (checkout / "recipes" / f"{name}.yaml").read_text().splitlines())) <= 140
    assert "at most 21.0 GiB (teacher)" in (checkout / "recipes/pipeline.yaml").read_text()


def test_figures_of_a_cpu_are_never_written(checkout):
    with pytest.raises(ValueError, match="only a GPU's are written"):
        write_figures({**record_of(zero=kept(STEPS)), "device": "cpu", "tiny": True}, checkout)


def test_stocks_generation_is_scaled_by_the_time_of_a_token_and_the_prompts_are_read_once():
    assert scaled(short=1 + 16 * 0.1, timed=1 + 128 * 0.1, longest=1024) == pytest.approx(1 + 1024 * 0.1)


def test_the_memory_of_a_whole_rollout_is_computed_from_the_models_shape():
    config = SimpleNamespace(
        hidden_size=1536, num_attention_heads=12, num_key_value_heads=2, num_hidden_layers=28, vocab_size=151936
    )
    settings = {"per_device_train_batch_size": 8, "max_completion_length": 1024, "dtype": "bfloat16"}
    own = {"gradient_accumulation_steps": 16}
    layer = 2 * 2 * 128 * (1024 + 256) * 128 * 2  # keys and values, heads, head size, columns, rows, bytes: 160 MiB
    draw = 6 * 4 * 128 * 151936
    assert computed_rollout(2.0, config, settings, own) == pytest.approx(2.0 + (29 * layer + draw) / 2**30)
    assert computed_rollout(2.0, config, {"max_length": 8192}, own) == 0.0


def test_a_completion_that_was_cut_is_filled_and_one_that_ended_stays():
    assert filled([5, 1], short=3, whole=8, vocabulary=9) == [5, 1]
    made = filled([5, 6, 7], short=3, whole=8, vocabulary=9)
    assert (made[:3], len(made), 1 in made[3:]) == ([5, 6, 7], 8, False)


# -- the largest micro-batch ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("most", "start", "found"), [(24, 8, 24), (2, 8, 2), (0, 8, 0), (8, 8, 8), (200, 8, 128)])
def test_the_largest_rung_is_found_from_above_and_from_below(most, start, found):
    asked = []

    def fits(rows):
        asked.append(rows)
        return rows <= most

    assert climb(fits, start) == found
    assert len(asked) == len(set(asked))


class Hungry:
    """A trainer that runs out of memory above so many rows, as torch says it."""

    def __init__(self, most):
        self.most, self.model = most, torch.nn.Linear(1, 1)
        self.model_wrapped, self.accelerator = self.model, self

    def compute_loss(self, model, inputs):
        if len(inputs["input_ids"]) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return model(inputs["input_ids"][:, :1].float()).sum()

    def backward(self, loss):
        loss.backward()


class Card(Meter):
    """A card whose memory is whatever the test says."""

    def __init__(self, trainer, fits):
        super().__init__("cpu")
        self.trainer, self.fits = trainer, fits

    def cap(self, card):
        if card is not None:
            self.trainer.most = self.fits[card]


def test_out_of_memory_ends_the_climb_and_leaves_no_gradient():
    trainer = Hungry(0)
    micro_batch = {"input_ids": torch.ones(8, 4), "mask": torch.ones(8, 4), "of_all": torch.tensor(3)}
    found = largest_batches(trainer, micro_batch, 8, Card(trainer, {24: 12, 48: 40, 80: 64}), seconds=600)
    assert [found[card] for card in ("24 GB", "48 GB", "80 GB")] == [12, 32, 64]
    assert trainer.model.weight.grad is None


def test_a_climb_that_has_no_time_left_names_no_batch_for_that_card():
    trainer = Hungry(0)
    found = largest_batches(trainer, {"input_ids": torch.ones(8, 4)}, 8, Card(trainer, {24: 12}), seconds=-1)
    assert found == {"out_of_time": True, "peaks_gib": {}}


def test_a_card_that_the_rollout_does_not_fit_holds_no_micro_batch():
    trainer = Hungry(0)
    found = largest_batches(
        trainer, {"input_ids": torch.ones(8, 4)}, 8, Card(trainer, {24: 12, 48: 40, 80: 64}), 30, seconds=600
    )
    assert [found[card] for card in ("24 GB", "48 GB", "80 GB")] == [0, 32, 64]


def test_a_micro_batch_grows_by_whole_rows_and_scalars_stay():
    batch = {"ids": torch.arange(4).view(2, 2), "pairs": torch.arange(4), "n": torch.tensor(7), "names": ["a", "b"]}
    made = enlarged(batch, 2, 3)
    assert made["ids"].tolist() == [[0, 1], [2, 3], [0, 1]]
    assert made["pairs"].tolist() == [0, 1, 2, 3, 0, 1]
    assert (made["n"].item(), made["names"]) == (7, ["a", "b"])
    assert enlarged(batch, 2, 1)["ids"].tolist() == [[0, 1]]
