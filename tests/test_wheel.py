"""What `pip install trl-r1` brings: the wheel, in an environment without this repository."""

import os
import site
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from places import ROOT


SCRIPT = """
from trl_r1 import R1GRPOConfig, R1GRPOTrainer
import trl_r1
assert "site-packages" in trl_r1.__file__ and "environment" in trl_r1.__file__, trl_r1.__file__
from trl_r1.grpo.identity import share_of_low_bytes, tiny_model, tiny_prompts
config = R1GRPOConfig("out", advantage="leave_one_out", use_cpu=True, bf16=False, max_steps=1, num_generations=4,
                      per_device_train_batch_size=8, max_completion_length=4, report_to="none", disable_tqdm=True)
trainer = R1GRPOTrainer(tiny_model("model"), share_of_low_bytes, config, train_dataset=tiny_prompts())
trainer.train()
print("steps", trainer.state.global_step)
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """A new virtual environment with the built wheel; dependencies are looked up in this one, our package is not."""
    folder = tmp_path_factory.mktemp("wheel")
    build = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(folder), str(ROOT)],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert build.returncode == 0, build.stderr[-2000:]
    (wheel,) = folder.glob("trl_r1-*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "environment")], check=True)
    python = folder / "environment" / "bin" / "python"
    home = subprocess.run(
        [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], capture_output=True, text=True
    ).stdout.strip()
    # the .pth of an editable install is not followed from a path that a .pth names, so ours is not visible
    Path(home, "dependencies.pth").write_text(
        "\n".join({sysconfig.get_path("purelib"), *[p for p in site.getsitepackages() if "site-packages" in p]})
    )
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", str(wheel)],
        check=True,
    )
    return folder, wheel, python.parent


def run(environment, *command, cwd):
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "COV_"))}
    bin_folder = environment[2]
    return subprocess.run(
        [str(bin_folder / command[0]), *command[1:]], cwd=cwd, capture_output=True, text=True, timeout=400,
        env={**clean, "PATH": f"{bin_folder}:{clean['PATH']}"},
    )  # fmt: skip


def test_the_wheel_holds_the_recipes_and_no_tests(environment):
    names = zipfile.ZipFile(environment[1]).namelist()
    assert "trl_r1/_recipes/zero.yaml" in names
    assert "trl_r1/_recipes/mini/zero.yaml" in names
    assert not [name for name in names if name.startswith("tests")]


@pytest.mark.slow
def test_doctor_recipes_demo_and_a_plain_script_work_from_the_wheel(environment, tmp_path):
    doctor = run(environment, "trl-r1", "doctor", cwd=tmp_path)
    assert doctor.returncode == 0, doctor.stdout + doctor.stderr
    listed = run(environment, "trl-r1", "recipes", cwd=tmp_path)
    assert "mini/zero" in listed.stdout
    plain = run(environment, "python", "-c", SCRIPT, cwd=tmp_path)
    assert "steps 1" in plain.stdout, plain.stderr[-2000:]
    demo = run(environment, "trl-r1", "demo", "--scale", "tiny", cwd=tmp_path)
    assert demo.returncode == 0, demo.stderr[-2000:]
    assert (tmp_path / "runs" / "demo-tiny" / "summary.json").is_file()
    assert "report.md" in demo.stdout
