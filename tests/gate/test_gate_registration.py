"""peft learns of head gates: in either order of imports, only where it still can, and at no cost to who needs no peft."""

import enum
import importlib.util
import json
import subprocess
import sys

import pytest
from peft import PeftType, get_peft_model
from peft.mapping import (
    PEFT_TYPE_TO_CONFIG_MAPPING,
    PEFT_TYPE_TO_MIXED_MODEL_MAPPING,
    PEFT_TYPE_TO_PREFIX_MAPPING,
    PEFT_TYPE_TO_TUNER_MAPPING,
)

from trl_r1 import HeadGateConfig
from trl_r1.compat.after_import import after_import
from trl_r1.gate import HeadGateModel, registration
from trl_r1.gate.config import register


FRESH = """
import sys
import trl_r1
assert not {"torch", "peft", "transformers"} & set(sys.modules), "import trl_r1 loads a heavy library"
from peft import PeftModel
from transformers import LlamaConfig, LlamaForCausalLM
model = PeftModel.from_pretrained(LlamaForCausalLM(LlamaConfig.from_pretrained(sys.argv[1])), sys.argv[1])
print(type(model.base_model).__name__, len(list(model.active_adapters)))
assert "trl_r1.compat.after_import" in sys.modules and not [f for f in sys.meta_path if "trl_r1" in type(f).__module__]
"""


@pytest.mark.slow
def test_import_trl_r1_is_enough_and_loads_nothing(make, tmp_path):
    model = get_peft_model(make("llama"), HeadGateConfig())
    model.save_pretrained(tmp_path)
    model.get_base_model().config.save_pretrained(tmp_path)
    done = subprocess.run([sys.executable, "-c", FRESH, str(tmp_path)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["HeadGateModel", "1"]


def test_peft_knows_the_method_by_its_name(tmp_path):
    assert PeftType("HEAD_GATE") is PeftType.HEAD_GATE
    assert PEFT_TYPE_TO_CONFIG_MAPPING["HEAD_GATE"] is HeadGateConfig
    assert PEFT_TYPE_TO_TUNER_MAPPING[PeftType.HEAD_GATE] is HeadGateModel
    assert PEFT_TYPE_TO_PREFIX_MAPPING["HEAD_GATE"] == HeadGateModel.prefix == "head_gate_"
    assert PeftType.HEAD_GATE not in PEFT_TYPE_TO_MIXED_MODEL_MAPPING
    assert [member for member in PeftType if member.name == "HEAD_GATE"] == ["HEAD_GATE"]
    HeadGateConfig(r=3, target_modules=["q_proj"]).save_pretrained(tmp_path)
    assert json.loads((tmp_path / "adapter_config.json").read_text())["peft_type"] == "HEAD_GATE"


def test_a_closed_enumeration_takes_one_more_member():
    class Colour(str, enum.Enum):
        RED = "RED"

    registration.extend(Colour, "BLUE")
    registration.extend(Colour, "BLUE")
    assert [str(member.value) for member in Colour] == ["RED", "BLUE"]
    assert Colour("BLUE") is Colour.BLUE is Colour["BLUE"]
    assert isinstance(Colour.BLUE, Colour)
    assert Colour.BLUE == "BLUE" != Colour.RED


@pytest.fixture
def unregistered(monkeypatch):
    for table in (PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING, PEFT_TYPE_TO_PREFIX_MAPPING):
        monkeypatch.delitem(table, "HEAD_GATE")


def test_a_peft_without_our_seams_is_refused_in_one_sentence(unregistered, monkeypatch):
    from peft.tuners.lora import LoraModel

    monkeypatch.setattr(LoraModel, "_check_merge_allowed", None)
    assert register() == [
        f"peft {registration.peft.__version__} does not define LoraModel._check_merge_allowed, which head gates need."
    ]
    monkeypatch.undo()


def test_other_parameters_are_noticed_and_lora_is_not_touched(unregistered, monkeypatch):
    from peft import LoraConfig
    from peft.tuners.tuners_utils import BaseTuner

    monkeypatch.setattr(BaseTuner, "delete_adapter", lambda self, name: None)
    with pytest.raises(
        RuntimeError, match=r"BaseTuner.delete_adapter takes \(name\), and head gates expect.*use a LoraConfig"
    ):
        HeadGateConfig()
    LoraConfig(r=2)
    assert "HEAD_GATE" not in PEFT_TYPE_TO_TUNER_MAPPING


def test_a_registration_that_fails_says_why(unregistered, monkeypatch):
    import peft.utils

    def closed(**options):
        raise ValueError("this table is closed")

    monkeypatch.setattr(peft.utils, "register_peft_method", closed)
    assert "does not take a method from outside (ValueError: this table is closed)" in register()[0]
    with pytest.raises(RuntimeError, match="does not take a method from outside"):
        HeadGateConfig()


def test_it_is_registered_once(unregistered):
    assert register() == register() == []
    assert PEFT_TYPE_TO_TUNER_MAPPING["HEAD_GATE"] is HeadGateModel


# -- after an import ------------------------------------------------------------------------------------------------


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A package nobody has imported: its name."""
    name = f"late_{tmp_path.name.replace('-', '_')}"
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("import math\nready = math.pi > 3\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    before = list(sys.meta_path)
    yield name
    sys.modules.pop(name, None)
    assert sys.meta_path == before


def test_it_waits_for_the_import_and_acts_once(library):
    seen = []
    after_import(library, lambda: seen.append(sys.modules[library].ready))
    spec = importlib.util.find_spec(library)  # looking is not importing
    assert spec is not None
    assert spec.origin.endswith("__init__.py")
    assert seen == []
    module = __import__(library)
    assert seen == [True]
    assert type(module.__loader__).__name__ == type(module.__spec__.loader).__name__ == "SourceFileLoader"
    importlib.reload(module)
    assert seen == [True]


def test_what_is_imported_already_needs_no_waiting():
    seen = []
    after_import("json", lambda: seen.append(True))
    assert seen == [True]


def test_a_library_that_is_not_there_stays_absent(monkeypatch):
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    after_import("no_such_library_of_ours", lambda: None)
    assert importlib.util.find_spec("no_such_library_of_ours") is None
    with pytest.raises(ModuleNotFoundError, match="No module named 'no_such_library_of_ours'"):
        importlib.import_module("no_such_library_of_ours")


def test_an_import_that_fails_may_be_tried_again(library, tmp_path):
    seen = []
    source = tmp_path / library / "__init__.py"
    good = source.read_text()
    source.write_text("raise ImportError('half an installation')\n")
    after_import(library, lambda: seen.append(True))
    with pytest.raises(ImportError, match="half an installation"):
        importlib.import_module(library)
    assert seen == []
    source.write_text(good + "# longer than before\n")
    importlib.invalidate_caches()
    importlib.import_module(library)
    assert seen == [True]
