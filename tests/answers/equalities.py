r"""What equals what: the cases that the tests judge, and the table of docs/rewards.md, which is made from them.

python tests/answers/equalities.py          prints the table
"""

from __future__ import annotations

from typing import NamedTuple


class Rule(NamedTuple):
    """``equal`` and ``different`` are (answer, gold); the first of each is shown. ``why``: where mathematics leaves a
    choice, which one is made, and after whom."""

    what: str
    equal: list[tuple[str, str]]
    different: list[tuple[str, str]]
    why: str = ""


RULES = [
    Rule(
        "a fraction before a symbol is a factor",
        [
            (r"\frac{3\pi}{5}", r"\frac{3}{5}\pi"),
            (r"\frac{x}{4}", r"\frac14 x"),
            (r"\frac{7x^2}{9}", r"\frac79x^2"),
            (r"\frac{n(n+1)}{2}", r"\frac{1}{2}n(n+1)"),
            (r"\frac{2}{3}\sqrt{5}", r"\frac{2\sqrt5}{3}"),
            (r"½x", r"\frac{x}{2}"),
            (r"\frac{\sqrt{3}}{6}a", r"\frac{1}{6}\sqrt{3}a"),
            (r"\frac{m}{2}", r"\frac12 m"),
            (r"\frac{e^{2x}}{2}", r"\frac{1}{2}e^{2x}"),
            (r"0.5\pi", r"\frac{1}{2}\pi"),
            (r"\frac{3\log_2 5}{4}", r"\frac34\log_2 5"),
            (r"\frac{\sin x}{3}", r"\frac13\sin x"),
            (r"1/2x", r"\frac{1}{2}x"),
            (r"{3 \over 5} \pi", r"\frac{3\pi}{5}"),
            (r"y=\frac{3x}{4}+2", r"y=\frac{3}{4}x+2"),
            (r"\frac{3}{4}i", r"\frac{3i}{4}"),
        ],
        [
            (r"\frac{3}{5\pi}", r"\frac{3}{5}\pi"),
            (r"\frac{1}{4x}", r"\frac14 x"),
            (r"\frac{5}{3}\pi", r"\frac{3}{5}\pi"),
            (r"\frac{1}{2n(n+1)}", r"\frac{1}{2}n(n+1)"),
            (r"\frac{2}{3\sqrt5}", r"\frac{2}{3}\sqrt{5}"),
            (r"\frac{1}{2}", r"\frac12 n"),
            (r"1/2x", r"\frac{1}{2x}"),
            (r"y=\frac{1}{3x}-1", r"y=\frac{1}{3}x-1"),
            (r"\frac{24}{x^5}", r"\frac1{2}"),
        ],
        "`1/2x` is x/2, from left to right, as a computer algebra system reads it; `1/xy` is left to math-verify",
    ),
    Rule(
        "small is not equal",
        [
            (r"10^{-20}", r"\frac{1}{10^{20}}"),
            (r"\frac{2}{2^{901}}", r"\frac{1}{2^{900}}"),
            (r"1-3^{-500}", r"1-\frac{1}{3^{500}}"),
            (r"\sqrt{2^{201}}", r"2^{100}\sqrt2"),
        ],
        [
            (r"\frac{1}{10^{19}}", r"\frac{1}{10^{18}}"),
            (r"1+2^{-2024}", r"1-2^{-2024}"),
            (r"2^{100}", r"\sqrt{2^{200}+1}"),
            (r"\frac{1}{19!}", r"\frac{1}{18!}"),
            (r"1", r"1-\frac{1}{10^{40}}"),
            (r"\pi", r"\pi+10^{-50}"),
            (r"0", r"10^{-30}"),
            (r"\left(\frac{1}{2}\right)^{100}", r"\left(\frac{1}{2}\right)^{101}"),
            (r"x", r"x+\frac{1}{3^{99}}"),
            (r"\sqrt{10^{60}+1}-10^{30}", r"10^{-31}"),
            (r"\frac{e}{10^{25}}", r"\frac{\pi}{10^{25}}"),
        ],
    ),
    Rule(
        "a decimal for an irrational number",
        [(r"3.141593", r"\pi"), (r"1.4142136", r"\sqrt2"), (r"0.333333", r"\frac13"), (r"-1.732051", r"-\sqrt{3}")],
        [
            (r"3.14159", r"\pi"),
            (r"3.141592", r"\pi"),
            (r"1.414213", r"\sqrt2"),
            (r"0.3333", r"\frac13"),
            (r"0.2500001", r"\frac14"),
        ],
        "six places or more, right to half a unit of the last one written (math-verify rounds to six); none for a number "
        "that a decimal can write",
    ),
    Rule(
        "e and i, upright or not",
        [
            (r"2-\frac{1}{e}", r"2-\frac{1}{\mathrm{e}}"),
            (r"\mathrm{e}^{2}", r"e^2"),
            (r"4-1i", r"4-i"),
            (r"6(1-i)", r"6-6i"),
            (r"\sqrt{-1}", r"i"),
            (r"7-\mathrm{i}", r"7-1i"),
            (r"\frac{1+2i}{3}", r"\frac13+\frac23i"),
            (r"2i\sqrt{3}", r"\sqrt{-12}"),
            (r"\text{i}+1", r"1+i"),
            (r"e^{i\pi/2}", r"i"),
            (r"(1+i)^2", r"2i"),
        ],
        [
            (r"2+\frac{1}{\mathrm e}", r"2-\frac{1}{\mathrm{e}}"),
            (r"4+i", r"4-i"),
            (r"1-i", r"6-6i"),
            (r"-i", r"i"),
            (r"e", r"e^2"),
        ],
        "the letters e and i are the constants, as in math-verify",
    ),
    Rule(
        "thousands",
        [
            (r"2500", r"2,\! 500"),
            (r"11,\! 111", r"11111"),
            (r"7,\!200,\!000", r"7200000"),
            (r"12{,}500", r"12500"),
            (r"1\,072", r"1072"),
            (r"12{,}500\pi", r"12500\pi"),
            (r"(1{,}000, 2)", r"(1000,2)"),
            (r"\$1,\!250", r"1250"),
        ],
        [(r"2,\! 50", r"250"), (r"(1,500)", r"(1500,0)"), (r"1,2,3", r"123"), (r"2, 500", r"2500")],
        "a comma between groups of three digits, and what LaTeX sets for it",
    ),
    Rule(
        "repeating decimals",
        [
            (r"0.\overline{6}", r"\frac{2}{3}"),
            (r"\frac23", r"0.\overline{6}"),
            (r"0.(1)", r"\frac19"),
            (r"0.\dot{3}\dot{6}", r"\frac{4}{11}"),
            (r"0.1\overline{6}", r"\frac16"),
            (r"0.\dot{1}4285\dot{7}", r"\frac17"),
            (r"1.\overline{27}", r"\frac{14}{11}"),
            (r"0.333...", r"1/3"),
            (r"0.1666\ldots", r"1/6"),
            (r"0.\overline{9}", r"1"),
            (r"-0.\bar{3}", r"-\frac13"),
            (r"33.\overline{3}\%", r"\frac13"),
        ],
        [
            (r"0.6", r"0.\overline{6}"),
            (r"0.\overline{06}", r"0.\overline{6}"),
            (r"0.(12)", r"\frac19"),
            (r"0.33", r"\frac13"),
        ],
    ),
    Rule(
        "a ratio is a quotient",
        [
            (r"4:10", r"2:5"),
            (r"\frac25", r"2:5"),
            (r"6:8", r"3:4"),
            (r"0.75", r"3:4"),
            (r"2:4:6", r"1:2:3"),
            (r"3 : 4", r"3:4"),
            (r"3\colon 4", r"3:4"),
            (r"3 to 4", r"3:4"),
        ],
        [
            (r"5:2", r"2:5"),
            (r"3:5", r"3:4"),
            (r"1:3:2", r"1:2:3"),
            (r"1:15", r"3:45"),
            (r"\frac25", r"12:30"),
            (r"1:2", r"1:2:3"),
            (r"4 to 3", r"3:4"),
        ],
        "what may be a time of day (hours, then two digits of minutes) is one: 3:45; `3 to 4` is a ratio",
    ),
    Rule(
        "relations",
        [
            (r"x != 4", r"x\neq 4"),
            (r"x\not= 4", r"x\neq 4"),
            (r"r<q<p", r"p>q>r"),
            (r"y=-\frac13x+\frac16", r"2x+6y-1=0"),
            (r"2x \ge 4y", r"x \ge 2y"),
            (r"a \leq b", r"b \geq a"),
            (r"3x-y=5", r"y=3x-5"),
            (r"x+y-8=0", r"x+y=8"),
            (r"x^2+y^2=25", r"\frac{x^2}{25}+\frac{y^2}{25}=1"),
            (r"a\geqslant b\geqslant c", r"c\le b\le a"),
        ],
        [
            (r"x = 4", r"x\neq 4"),
            (r"r>q>p", r"p>q>r"),
            (r"p>r>q", r"p>q>r"),
            (r"2x+6y+1=0", r"2x+6y-1=0"),
            (r"x<2", r"x\le 2"),
            (r"x+y=9", r"x+y=8"),
            (r"y>2x", r"y<2x"),
            (r"t>2", r"x>2"),
            (r"x+y=8+10^{-30}", r"x+y=8"),
        ],
        "an equation also times a number; the unknown keeps its name",
    ),
    Rule(
        "intervals, unions, inequalities",
        [
            (r"x\le -1 \text{ or } x\ge 3", r"(-\infty,-1]\cup[3,\infty)"),
            (r"(1,3]", r"1<x\le3"),
            (r"x>1 \text{ and } x<5", r"1<x<5"),
            (r"x>2", r"(2,\infty)"),
            (r"[3,\infty)\cup(-\infty,-1]", r"(-\infty,-1]\cup[3,\infty)"),
            (r"x\neq 4", r"(-\infty,4)\cup(4,\infty)"),
            (r"\mathbb{R}\setminus\{4\}", r"x\neq 4"),
            (r"\{x \mid x>2\}", r"(2,\infty)"),
            (r"x \in [0,1)", r"0\le x<1"),
            (r"[0,2)\cup[2,3]", r"[0,3]"),
            (r"\left(-\infty,\frac12\right)", r"x<0.5"),
            (r"3\ge x>1", r"(1,3]"),
            (r"(\sqrt8,3)", r"(2\sqrt2,3)"),
            (r"1<x<5", r"x>1 \text{ and } x<5"),
            (r"x<1, x>5", r"(-\infty,1)\cup(5,\infty)"),
            (r"(-1,3)", r"|x-1|<2"),
            (r"x\ne1, x\ne2", r"x\ne 1, 2"),
        ],
        [
            (r"x< -1 \text{ or } x\ge 3", r"(-\infty,-1]\cup[3,\infty)"),
            (r"[1,3]", r"(1,3]"),
            (r"(2,1)", r"(1,2)"),
            (r"[2,\infty)", r"x>2"),
            (r"[0,1)\cup(1,2]", r"[0,2]"),
            (r"(-\infty,3)", r"(-\infty,3+10^{-20})"),
            (r"\mathbb{R}", r"x\neq 4"),
            (r"5", r"(3,5)"),
            (r"x<1 \text{ and } x>5", r"(-\infty,1)\cup(5,\infty)"),
        ],
        'a comma between inequalities is the "and" or the "or" that is neither empty nor everything',
    ),
    Rule(
        "lists and sets, in any order",
        [
            (r"3和4", r"3,4"),
            (r"4, 3", r"3,4"),
            (r"3 \text{ and } 4", r"3,4"),
            (r"3或4", r"4,3"),
            (r"x=3 \text{ or } x=4", r"3,4"),
            (r"2+\sqrt5, 2-\sqrt5", r"2\pm\sqrt5"),
            (r"x=2+\sqrt5 \text{ or } x=2-\sqrt5", r"2\pm\sqrt5"),
            (r"\pm 3", r"3,-3"),
            (r"(\pm1,0)", r"(1,0),(-1,0)"),
            (r"x=\pm3", r"-3,3"),
            (r"\varnothing", r"\emptyset"),
            (r"\{\}", r"\emptyset"),
            (r"2\mp i", r"2\pm i"),
            (r"\{1,2,2\}", r"\{1,2\}"),
            (r"\frac{-1\pm\sqrt5}{2}", r"\frac{\pm\sqrt5-1}{2}"),
        ],
        [
            (r"3", r"3,4"),
            (r"3,5", r"3,4"),
            (r"3, 4, 5", r"3,4"),
            (r"(4,3)", r"(3,4)"),
            (r"2+\sqrt5", r"2\pm\sqrt5"),
            (r"3", r"\pm 3"),
            (r"\{0\}", r"\emptyset"),
            (r"(3,4)", r"3,4"),
            (r"0", r"\emptyset"),
        ],
        "brackets ( ) count the order; for a bare list whose order counts, declare `answer_type: sequence`",
    ),
    Rule(
        "tuples, vectors, matrices",
        [
            (r"\left(\frac12, 0.25\right)", r"(0.5,\frac14)"),
            (r"\begin{bmatrix}1&2\\3&4\end{bmatrix}", r"\begin{pmatrix}1 & 2\\ 3 & 4\end{pmatrix}"),
            (r"\langle 1,2\rangle", r"(1,2)"),
            (r"\frac12\begin{pmatrix}2\\4\end{pmatrix}", r"\begin{pmatrix}1\\2\end{pmatrix}"),
            (r"\left(\begin{array}{cc}1&0\\0&1\end{array}\right)", r"\begin{pmatrix}1&0\\0&1\end{pmatrix}"),
        ],
        [
            (r"(0.25, \frac12)", r"(0.5,\frac14)"),
            (r"\begin{pmatrix}1&3\\2&4\end{pmatrix}", r"\begin{pmatrix}1&2\\3&4\end{pmatrix}"),
            (r"[1,2]", r"(1,2)"),
            (r"\begin{pmatrix}1&2\end{pmatrix}", r"\begin{pmatrix}1\\2\end{pmatrix}"),
        ],
    ),
    Rule(
        "percent",
        [(r"50\%", r"0.5"), (r"12\%", r"12 percent"), (r"\frac12", r"50\%")],
        [(r"50", r"50\%"), (r"9\%", r"9")],
        "a percentage is its hundredth (ISO 80000-1); declare `answer_type: percent` where 12 means 12%",
    ),
    Rule(
        "units and angles",
        [
            (r"5\text{ m}", r"500 \text{ cm}"),
            (r"8\text{ cm}", r"8"),
            (r"$8$ cm", r"8 cm"),
            (r"90^\circ", r"90"),
            (r"60'", r"1^\circ"),
            (r"30^\circ 15'", r"30.25^\circ"),
            (r"2\pi\text{ m}", r"2\pi"),
            (r"\sin 30^\circ", r"\sin\frac{\pi}{6}"),
        ],
        [
            (r"45'", r"45^\circ"),
            (r"45''", r"45'"),
            (r"\frac{\pi}{6}", r"30^\circ"),
            (r"8\text{ cm}^2", r"8\text{ cm}"),
        ],
        "a unit on one side only is understood; a degree is a unit, no factor, but in the argument of a function",
    ),
    Rule(
        "numbers in words",
        [
            (r"3", r"three"),
            (r"\text{three}", r"3"),
            (r"21", r"twenty-one"),
            (r"one hundred and five", r"105"),
            (r"half", r"\frac12"),
            (r"two thirds", r"\frac23"),
            (r"two and a half", r"2.5"),
            (r"negative five", r"-5"),
        ],
        [(r"4", r"three"), (r"three or four", r"3"), (r"thirty", r"3"), (r"third", r"\frac13"), (r"half", r"0.25")],
    ),
    Rule(
        "identities",
        [
            (r"2\cos^2 x-1", r"\cos 2x"),
            (r"\frac{\sqrt6+\sqrt2}{4}", r"\cos 15^\circ"),
            (r"\ln\sqrt3", r"\frac12\ln 3"),
            (r"\log_4 x", r"\frac{\ln x}{2\ln 2}"),
            (r"\sqrt{xy}", r"\sqrt{x}\sqrt{y}"),
            (r"x^{2/3}", r"\sqrt[3]{x^2}"),
            (r"(-1)^{n}", r"-(-1)^{n+1}"),
            (r"\sqrt{3-2\sqrt2}", r"\sqrt2-1"),
            (r"\frac{1}{x(x+1)}", r"\frac1x-\frac1{x+1}"),
            (r"\tan^{-1}x", r"\arctan x"),
        ],
        [
            (r"x", r"\sqrt{x^2}"),
            (r"\ln x", r"\ln|x|"),
            (r"\sin 2x", r"2\sin x"),
            (r"(x+y)^2", r"x^2+y^2"),
            (r"|x-1000|", r"x-1000"),
            (r"\ln x", r"\log x"),
            (r"X+1", r"x+1"),
            (r"\cos^2 x", r"\cos x^2"),
        ],
        "over the real numbers where both sides are real; `\\log` without a base is no `\\ln`",
    ),
    Rule(
        "functions with names",
        [
            (r"f(2x)\cdot\frac12", r"\frac{f(2x)}{2}"),
            (r"\int_0^1 t\,dt", r"\int_0^1 x\,dx"),
        ],
        [(r"f'(x)", r"f(x)"), (r"\frac{dy}{dx}", r"\frac{dx}{dy}"), (r"f(2x)", r"2f(x)")],
        "math-verify's reading, but for derivatives, which it does not see",
    ),
    Rule(
        "unevaluated forms",
        [
            (r"\frac{30}{42}", r"\frac57"),
            (r"17\cdot 23=391", r"391"),
            (r"\sum_{k=1}^{10}k=55", r"55"),
            (r"\binom{n}{2}/2", r"\frac{n(n-1)}{4}"),
            (r"x=2", r"x-2=0"),
        ],
        [
            (r"17\cdot 23", r"391"),
            (r"2x+3=7", r"x=2"),
            (r"x-2>0", r"x>2"),
            (r"\sum_{k=1}^{10}k=56", r"56"),
            (r"\int_0^1 x^2dx", r"\frac13"),
            (r"\sqrt{16}", r"4"),
            (r"4!", r"24"),
        ],
        "to a number, a task restated is no answer, nor is an equation to its solution (`require_simplified`); a "
        "binomial of unknowns is no task",
    ),
]


def shown(pair: tuple[str, str], sign: str) -> str:
    return f"`{pair[0]}` {sign} `{pair[1]}`".replace("|", "\\|")


def table() -> str:
    """The table of docs/rewards.md."""
    lines = ["| | equal | different | convention |", "| --- | --- | --- | --- |"]
    for rule in RULES:
        equal = ", ".join(shown(pair, "=") for pair in rule.equal[:2])
        different = ", ".join(shown(pair, "≠") for pair in rule.different[:2])
        lines.append(f"| {rule.what} | {equal} | {different} | {rule.why} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
