"""Stages started from tests: the recipe they read, and the one sentence of a start that must fail."""

import pytest
import yaml


def recipe_writer(folder, base):
    """`write(**changes)` writes ``base`` with the changes in it as recipe.yaml and returns its path; None removes a key."""

    def write(**changes):
        chosen = {key: value for key, value in {**base, **changes}.items() if value is not None}
        path = folder / "recipe.yaml"
        path.write_text(yaml.safe_dump(chosen))
        return str(path)

    return write


def stage_error(capsys, main, *argv, code=2, also_stdout=False) -> str:
    """The one sentence on stderr of a start of a stage's ``main`` that must stop with ``code``.

    Args:
        also_stdout: look there too, where a person's turn is said.
    """
    with pytest.raises(SystemExit) as caught:
        main(list(argv))
    assert caught.value.code == code
    captured = capsys.readouterr()
    text = captured.err + (captured.out if also_stdout else "")
    stage = main.__module__.rpartition(".")[2]
    lines = [line for line in text.splitlines() if line.startswith(f"trl-r1 {stage}: ")]
    assert len(lines) == 1
    return lines[0]
