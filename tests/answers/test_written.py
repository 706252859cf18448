r"""What math-verify is asked about: the text as it was written, without tags and units."""

import pytest

from trl_r1.answers.notation import canonical
from trl_r1.answers.written import as_written
from trl_r1.rewards import accuracy


ASKED = [  # (answer, gold, what math-verify reads of both)
    (r"$\dfrac12 f\left(2x\right)$.", r"f(2x)\cdot\tfrac12", r"\dfrac12 f\left(2x\right)", r"f(2x)\cdot\tfrac12"),
    (r"\boxed{\displaystyle\int_0^1 t\,dt}", r"\int_0^1 x\,dx", r"\displaystyle\int_0^1 t\,dt", r"\int_0^1 x\,dx"),
    (r"y = \mathrm{e}^{f(2x)}", r"\mathrm{e}^{f(3x)}", r"\mathrm{e}^{f(2x)}", r"\mathrm{e}^{f(3x)}"),
    (
        r"\left(1,\; \textstyle\sum_{k=1}^{n} a_{k}\right)",
        r"(1, \sum_{j=1}^n a_j)",
        r"\textstyle\sum_{k=1}^{n} a_{k}",
        r"\sum_{j=1}^n a_j",
    ),
    (r"\sqrt{\dfrac12}\text{ cm}", r"\tfrac{\sqrt2}{3} \mathrm{cm}", r"\sqrt{\dfrac12}", r"\tfrac{\sqrt2}{3}"),
    (r"sqrt(f(2x))", r"\sqrt{f(3x)}", r"\sqrt{f(2x)}", r"\sqrt{f(3x)}"),  # plain text is no LaTeX yet
    (r"f(2x)≤\dfrac{1}{3}", r"f(2x)\le\dfrac14", r"f(2x)\le \dfrac{1}{3}", r"f(2x)\le\dfrac14"),
]


@pytest.mark.parametrize(("answer", "gold", "first", "second"), ASKED)
def test_math_verify_reads_what_was_written(answer, gold, first, second, monkeypatch):
    from trl_r1.sandbox import pool

    asked = []

    def run(judge, items, **limits):
        if judge == "math_verify":
            asked.extend(items)
        return [pool.Result("different" if judge == "math_verify" else "unread gold") for _ in items]

    monkeypatch.setattr(pool, "run", run)
    monkeypatch.setattr(accuracy, "_VERDICTS", {})
    assert accuracy.judge([answer], [gold], require_simplified=False) == ["different"]
    assert asked == [(first, second)]


def test_a_part_that_stands_nowhere_is_put_into_latex():
    assert as_written("sqrt(x)", r"\frac{1}{2}") == r"\sqrt{x}"
    assert as_written("x", r"\{" * 900 + "1," * 90) == "x"


def test_parts_of_a_long_list_take_no_time():
    text = r"\left(" + ",".join(["f(2x)"] * 300) + r"\right)"
    assert as_written("nothing like it", text) == "nothing like it"
    assert canonical(as_written("f(2x)", text)) == "f(2x)"
