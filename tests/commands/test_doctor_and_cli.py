"""The commands as a user types them."""

import subprocess
import sys

import pytest

from trl_r1 import cli, recipes


def call(*arguments, **options):
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=300, **options)


@pytest.mark.slow
def test_doctor_trusts_this_machine_and_says_on_what_grounds():
    done = call("-m", "trl_r1.cli", "doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Two steps against the stock trainer: bit-identical" in done.stdout
    assert "peft's methods that head gates extend: as expected" in done.stdout
    for word in ("torch", "trl ", "CPU:", "logic "):
        assert word in done.stdout


def test_doctor_hands_the_options_behind_gpu_to_the_benchmark_and_passes_its_exit_code_on(capfd):
    assert cli.main(["doctor", "--gpu", "--only", "memory"]) == 2
    assert "gpu.py: There is no section 'memory'. Sections: machine" in capfd.readouterr().err


def test_doctor_says_that_an_installed_package_has_no_gpu_benchmark(tmp_path, monkeypatch, capsys):
    from trl_r1.commands import call as command
    from trl_r1.commands import doctor

    monkeypatch.setattr(doctor, "__file__", str(tmp_path / "site-packages" / "trl_r1" / "commands" / "doctor.py"))
    assert command("doctor", ["--gpu"]) == 2
    errors = capsys.readouterr().err
    assert "part of a checkout and not of the installed package" in errors
    assert errors.count("\n") == 1


REMOVED = (
    "import sys, trl; from trl import GRPOTrainer; {change}; "
    "from trl_r1.commands import call; sys.exit(call('doctor', []))"
)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("del GRPOTrainer._calculate_rewards", "no longer defines GRPOTrainer._calculate_rewards"),
        ("del GRPOTrainer._compute_loss", "no longer defines GRPOTrainer._compute_loss"),
        (
            "GRPOTrainer._generate_and_score_completions = lambda self, batch, extra: None",
            "GRPOTrainer._generate_and_score_completions takes (batch, extra)",
        ),
    ],
)
def test_doctor_names_the_seam_that_is_gone(change, sentence):
    done = call("-c", REMOVED.format(change=change))
    assert done.returncode == 1
    assert sentence in done.stdout
    assert "Training cannot be trusted here" in done.stdout


def test_doctor_notices_a_kl_that_no_longer_passes_our_hook():
    change = (
        "import inspect, textwrap, trl.trainer.grpo_trainer as m; "
        "source = textwrap.dedent(inspect.getsource(GRPOTrainer._compute_loss)); "
        "open('moved.py', 'w').write(source.replace('self.beta * per_token_kl', 'per_token_kl * float(self.beta)')); "
        "scope = vars(m); exec(compile(open('moved.py').read(), 'moved.py', 'exec'), scope); "
        "GRPOTrainer._compute_loss = scope['_compute_loss']"
    )
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        done = call("-c", REMOVED.format(change=change), cwd=folder)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "evaluates `self.beta * per_token_kl` 0 times" in done.stdout


def test_a_trainer_is_not_built_on_a_missing_seam(tiny, tmp_path, monkeypatch):
    from trl_r1.compat import trl as compat
    from trl_r1.grpo.identity import run
    from trl_r1.grpo.trainer import R1GRPOTrainer

    monkeypatch.setattr(compat, "SEAMS", {**compat.SEAMS, "_no_such_method": ("self",)})
    from trl_r1 import R1GRPOConfig

    with pytest.raises(RuntimeError, match="no longer defines GRPOTrainer._no_such_method"):
        run(R1GRPOTrainer, R1GRPOConfig, tiny, tmp_path, {})


def test_an_unknown_command_is_answered_with_the_nearest(capsys):
    assert cli.main(["docter"]) == 2
    assert "Did you mean 'doctor'?" in capsys.readouterr().err
    assert cli.main(["--help"]) == 0
    assert "zero" in capsys.readouterr().out


def test_recipes_are_listed_copied_and_never_overwrite(tmp_path, capsys):
    assert {"zero", "mini/zero"} <= set(recipes.names())
    assert cli.main(["recipes"]) == 0
    assert "R1-Zero with QLoRA" in capsys.readouterr().out
    assert cli.main(["recipes", "copy", str(tmp_path), "mini/zero"]) == 0
    assert (tmp_path / "mini" / "zero.yaml").read_text() == recipes.find("mini/zero").read_text()
    assert cli.main(["recipes", "copy", str(tmp_path)]) == 2
    assert "is already there and is not overwritten" in capsys.readouterr().err
    assert not (tmp_path / "zero.yaml").exists()


def test_a_stage_lists_its_options(capsys):
    assert cli.main(["zero", "--help"]) == 0
    shown = capsys.readouterr().out
    for option in ("--advantage", "--reference_every", "--evaluation_samples", "--lora_r"):
        assert option in shown


@pytest.mark.slow
def test_a_stage_started_by_name_fails_with_one_sentence(tmp_path):
    done = call(
        "-m", "trl_r1.cli", "zero", "--config", "mini/zero", "--beta", "-1", "--output_dir", str(tmp_path / "x")
    )
    assert done.returncode == 2  # the stage's own code, which accelerate's launcher turns into 1
    assert "beta=-1.0 would reward distance" in done.stderr
    assert "Traceback" not in done.stderr
