r"""Does the judge say what mathematics says? Random answers in many spellings, and near misses, judged in pairs.

    python benchmarks/judge_pairs.py --seed 1            (10,000 pairs, about five minutes on one core)

Expressions  Drawn as trees: numbers, fractions, roots, powers, symbols, functions, complex numbers, and intervals, sets,
             tuples, matrices and relations of them. A tree is rewritten at random by laws of algebra (``rewritten``) and
             written at random as LaTeX or plain text (``write``); a near miss is a tree with one thing changed
             (``NEAR_MISSES``), rewritten and written likewise.
Truth        Two evaluations of the trees, which know nothing of texts nor of our judge: float64 arithmetic at four points
             and sympy's at the same points with 50 digits, or exactly. Where float64 cannot tell two numbers apart (they
             differ by less than 1e-9 of their size) sympy alone decides, and is counted; where they contradict each
             other or the drawn intent, the pair is undecided: counted, printed, and another is drawn before the judge
             has seen any.
Judge        ``judge`` with ``require_simplified=False``: whether an unevaluated form is accepted is another question.

Half of the pairs are equal. Prints the seed, pairs and wrong verdicts for every kind of expression and of near miss, and
every wrong verdict. Exit status 1 if there is one. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from judge_spellings import spell
from judge_truth import Answer, Tree, Truth, n


for name, value in {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}.items():
    os.environ.setdefault(name, value)

FUNCTIONS = ("sin", "cos", "tan", "ln", "arctan", "exp")
KINDS = "numbers fractions roots powers symbols functions complex intervals sets tuples matrices relations".split()
NEAR_MISSES = "number sign below symbol exponent dropped order tiny".split()


@dataclass
class Pair:
    kind: str
    near_miss: str  # "" for an equal pair
    answer: str
    gold: str


# ---------------------------------------------------------------- drawing


def draw(kind: str, chance: random.Random) -> Answer:
    """A random answer of a kind."""
    if kind in VALUES:
        return Answer("value", [VALUES[kind](chance)])
    simple = [VALUES[chance.choice(("numbers", "fractions", "roots"))] for _ in range(4)]
    if kind == "intervals":
        low = Fraction(chance.randint(-30, 20), chance.randint(1, 7))
        ends = [n(low), ("+", n(low), _positive(chance))]
        return Answer(kind, ends, chance.choice("([") + chance.choice(")]"))
    if kind == "sets":
        return Answer(kind, [one(chance) for one in simple[: chance.randint(2, 4)]], chance.choice(("{}", "")))
    if kind == "tuples":
        return Answer(kind, [one(chance) for one in simple[: chance.randint(2, 3)]], "()")
    if kind == "matrices":
        return Answer(kind, [one(chance) for one in simple], chance.choice("pb"), chance.choice((1, 2)))
    left = _linear(chance)
    return Answer(
        "relations", [left, VALUES["fractions"](chance)], chance.choice(("=", "=", "<", "<=", ">", ">=", "!="))
    )


def _whole(chance: random.Random, most: int = 30) -> Tree:
    return n(chance.choice((-1, 1)) * chance.randint(1, most))


def _fraction(chance: random.Random) -> Tree:
    return n(Fraction(chance.choice((-1, 1)) * chance.randint(1, 40), chance.randint(2, 12)))


def _positive(chance: random.Random) -> Tree:
    return chance.choice(
        (n(chance.randint(1, 30)), n(Fraction(chance.randint(1, 30), 7)), ("r", n(chance.randint(2, 50)), n(2)))
    )


def _symbol(chance: random.Random) -> Tree:
    return ("s", chance.choice("xyztabnk"))


def _number(chance: random.Random) -> Tree:
    size = chance.choice((1, 2, 3, 5, 7))
    value = Fraction(chance.randint(10 ** (size - 1), 10**size))
    if chance.random() < 0.3:
        value /= chance.choice((10, 100, 1000))
    return n(value * chance.choice((-1, 1, 1)))


def _root(chance: random.Random) -> Tree:
    root = ("r", n(chance.randint(2, 60)), n(chance.choice((2, 2, 2, 3))))
    form = chance.randint(0, 3)
    if form == 0:
        return ("*", _fraction(chance), root)
    if form == 1:
        return ("+", _whole(chance), ("*", _whole(chance, 6), root))
    if form == 2:
        return ("/", ("+", _whole(chance), root), n(chance.randint(2, 9)))
    return ("/", _whole(chance), root)


def _power(chance: random.Random) -> Tree:
    form = chance.randint(0, 3)
    base, exponent = n(chance.randint(2, 9)), n(chance.randint(2, 40))
    if form == 0:
        return ("/", n(chance.randint(1, 9)), ("^", base, exponent))
    if form == 1:
        return ("+", n(1), ("*", n(-1), ("/", n(1), ("^", base, n(chance.randint(100, 900))))))
    if form == 2:
        return ("*", _fraction(chance), ("^", _symbol(chance), n(chance.randint(2, 5))))
    return ("+", ("^", base, exponent), _whole(chance))


def _linear(chance: random.Random) -> Tree:
    names = chance.sample("xyzt", 2)
    terms = [("*", _fraction(chance), ("s", name)) for name in names[: chance.choice((1, 2, 2))]]
    return ("+", *terms) if len(terms) > 1 else terms[0]


def _polynomial(chance: random.Random) -> Tree:
    x, form = _symbol(chance), chance.randint(0, 3)
    if form == 0:
        return ("*", _fraction(chance), x)
    if form == 1:
        return ("+", ("*", _fraction(chance), ("^", x, n(2))), ("*", _fraction(chance), x), _whole(chance))
    if form == 2:
        return (
            "/",
            ("+", ("*", _whole(chance, 9), x), _whole(chance)),
            ("+", _symbol(chance), n(chance.randint(31, 40))),
        )
    return ("*", _fraction(chance), ("+", x, _whole(chance)))


def _function(chance: random.Random) -> Tree:
    name = chance.choice(FUNCTIONS)
    inside = n(Fraction(chance.randint(2, 9))) if name in ("ln", "exp") or chance.random() < 0.3 else _symbol(chance)
    if inside[0] == "s" and chance.random() < 0.5:
        inside = ("*", n(chance.randint(2, 5)), inside)
    held = ("f", name, inside)
    constant = ("*", _fraction(chance), ("c", chance.choice(("pi", "e"))))
    return chance.choice(
        (("*", _fraction(chance), held), ("+", held, _whole(chance)), ("+", held, constant), constant)
    )


def _complex(chance: random.Random) -> Tree:
    i = ("c", "i")
    form = chance.randint(0, 2)
    if form == 0:
        return ("+", _whole(chance), ("*", _whole(chance, 9), i))
    if form == 1:
        return ("+", _fraction(chance), ("*", _fraction(chance), i))
    return ("*", _whole(chance, 9), ("+", _whole(chance, 9), ("*", _whole(chance, 5), i)))


VALUES: dict[str, Callable[[random.Random], Tree]] = {
    "numbers": _number, "fractions": _fraction, "roots": _root, "powers": _power, "symbols": _polynomial,
    "functions": _function, "complex": _complex,
}  # fmt: skip


# ---------------------------------------------------------------- laws of algebra, and near misses


def rewritten(tree: Tree, chance: random.Random) -> Tree:
    """The same value by another way."""
    if tree[0] in "nsc":
        return tree
    tree = (tree[0], *(rewritten(part, chance) if isinstance(part, tuple) else part for part in tree[1:]))
    if tree[0] in "+*" and chance.random() < 0.6:
        tree = (tree[0], *chance.sample(tree[1:], len(tree) - 1))
    if tree[0] == "*" and tree[1][0] == "n" and chance.random() < 0.6:
        number, rest = tree[1][1], tree[2:]
        if chance.random() < 0.5 or any(part[0] != "+" for part in rest):  # 3/5 x = 3x/5
            if number.denominator > 1:
                return (
                    "/",
                    ("*", n(number.numerator), *rest) if number.numerator != 1 else _product(rest),
                    n(number.denominator),
                )
        elif len(rest) == 1:  # a(x+y) = ax+ay
            return ("+", *(("*", tree[1], part) for part in rest[0][1:]))
    if tree[0] == "/" and tree[1][0] == "+" and chance.random() < 0.4:  # (a+b)/c = a/c+b/c
        return ("+", *(("/", part, tree[2]) for part in tree[1][1:]))
    if tree[0] == "r" and chance.random() < 0.2:
        return ("^", tree[1], n(Fraction(1) / tree[2][1]))
    if tree[0] == "^" and tree[1][0] == "s" and tree[2] == n(2) and chance.random() < 0.3:
        return ("*", tree[1], tree[1])
    if chance.random() < 0.05:
        return ("/", ("*", n(2), tree), n(2))
    return tree


def _product(parts: tuple) -> Tree:
    return parts[0] if len(parts) == 1 else ("*", *parts)


def leaves(tree: Tree, wanted: Callable[[Tree], bool], path: tuple[int, ...] = ()) -> list[tuple[int, ...]]:
    found = [path] if wanted(tree) else []
    return found + [
        p for i, part in enumerate(tree) if isinstance(part, tuple) for p in leaves(part, wanted, (*path, i))
    ]


def replaced(tree: Tree, path: tuple[int, ...], new: Callable[[Tree], Tree]) -> Tree:
    if not path:
        return new(tree)
    return tuple(replaced(part, path[1:], new) if i == path[0] else part for i, part in enumerate(tree))


def _one(
    tree: Tree, wanted: Callable[[Tree], bool], new: Callable[[Tree], Tree], chance: random.Random
) -> Tree | None:
    spots = leaves(tree, wanted)
    return replaced(tree, chance.choice(spots), new) if spots else None


def near_miss(answer: Answer, how: str, chance: random.Random) -> Answer | None:
    """An answer with one thing changed; None where this change does not apply."""
    if how == "order":
        return _misordered(answer, chance)
    spot = chance.randrange(len(answer.items))
    changed = _missed(answer.items[spot], how, chance)
    if changed is None:
        return None
    return Answer(
        answer.shape, [changed if i == spot else t for i, t in enumerate(answer.items)], answer.marks, answer.columns
    )


def _misordered(answer: Answer, chance: random.Random) -> Answer | None:
    if answer.shape == "tuples":
        return Answer("tuples", answer.items[::-1], answer.marks)
    if answer.shape == "intervals":
        spot = chance.randrange(2)
        other = {"(": "[", "[": "(", ")": "]", "]": ")"}[answer.marks[spot]]
        return Answer("intervals", answer.items, other + answer.marks[1] if spot == 0 else answer.marks[0] + other)
    if answer.shape == "relations" and answer.marks != "=":
        turned = {"<": ">", ">": "<", "<=": "<", ">=": ">", "!=": "="}[answer.marks]
        return Answer("relations", answer.items, turned)
    if answer.shape == "matrices":
        items = answer.items[2:] + answer.items[:2]
        return Answer("matrices", items, answer.marks, answer.columns)
    return None


def _missed(tree: Tree, how: str, chance: random.Random) -> Tree | None:
    if how == "number":
        return _one(tree, lambda t: t[0] == "n", lambda t: n(t[1] + chance.choice((-1, 1))), chance)
    if how == "sign":
        return _one(tree, lambda t: t[0] == "n" and t[1] != 0, lambda t: n(-t[1]), chance)
    if how == "below":  # 3/5 x for 3/(5x), and a fraction upside down
        return _one(
            tree,
            lambda t: (t[0] == "*" and t[1][0] == "n") or (t[0] == "n" and t[1].denominator > 1) or t[0] == "/",
            lambda t: (
                ("/", t[1], _product(t[2:])) if t[0] == "*" else n(1 / t[1]) if t[0] == "n" else ("*", t[1], t[2])
            ),
            chance,
        )
    if how == "symbol":
        names = {"pi": "e", "e": "pi", "i": "e"}
        return _one(
            tree, lambda t: t[0] in "sc", lambda t: ("s", "w") if t[0] == "s" else ("c", names[t[1]]), chance
        )  # fmt: skip
    if how == "exponent":
        return _one(tree, lambda t: t[0] in "^r", lambda t: (t[0], t[1], n(t[2][1] + 1)), chance)
    if how == "dropped":
        return _one(tree, lambda t: t[0] in "+*" and len(t) > 2, lambda t: _less(t, chance), chance)
    tiny = ("/", n(chance.choice((1, -1, 7))), ("^", n(chance.choice((2, 3, 10))), n(chance.randint(40, 900))))
    return ("+", tree, tiny)


def _less(tree: Tree, chance: random.Random) -> Tree:
    spot = chance.randrange(1, len(tree))
    rest = tree[1:spot] + tree[spot + 1 :]
    return rest[0] if len(rest) == 1 else (tree[0], *rest)


# ---------------------------------------------------------------- pairs


def pairs(seed: int, count: int) -> tuple[list[Pair], Counter[str]]:
    """``count`` pairs, half of them equal, in equal shares for the kinds; and what could not be decided."""
    chance = random.Random(seed)
    truth = Truth()
    made: list[Pair] = []
    done: Counter[str] = Counter()
    while len(made) < count:
        kind = KINDS[len(made) // 2 % len(KINDS)]
        how = "" if len(made) % 2 == 0 else min(NEAR_MISSES, key=lambda miss: (done[miss], chance.random()))
        answer = draw(kind, chance)
        other: Answer | None = Answer(answer.shape, answer.items, answer.marks, answer.columns)
        if how:
            for miss in sorted(NEAR_MISSES, key=lambda miss: (done[miss], chance.random())):
                other, how = near_miss(answer, miss, chance), miss
                if other is not None:
                    break
        if other is None:
            continue
        other = Answer(other.shape, [rewritten(t, chance) for t in other.items], other.marks, other.columns)
        try:
            verdict = truth.equal(answer, other)
        except ZeroDivisionError:
            verdict = None
        if verdict is None or verdict == bool(how):
            truth.counts["undecided" if verdict is None else "not as meant"] += 1
            continue
        texts = [spell(side, chance) for side in (other, answer)]
        if chance.random() < 0.5:
            texts.reverse()
        done[how] += bool(how)
        made.append(Pair(kind, how, *texts))
    return made, truth.counts


def judged(made: list[Pair]) -> list[str]:
    from trl_r1.rewards.accuracy import judge

    return judge([pair.answer for pair in made], [pair.gold for pair in made], require_simplified=False)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--show", type=int, default=40, help="wrong verdicts to print")
    chosen = parser.parse_args()
    made, counts = pairs(chosen.seed, chosen.count)
    print(
        f"seed {chosen.seed}: {len(made)} pairs, {sum(not p.near_miss for p in made)} equal; {dict(counts)}",
        flush=True,
    )
    outcomes = judged(made)
    wrong = [(p, o) for p, o in zip(made, outcomes, strict=True) if (o == "equal") != (not p.near_miss)]
    for title, key, names in (("kind", "kind", KINDS), ("near miss", "near_miss", NEAR_MISSES)):
        for each in names:
            total = sum(getattr(p, key) == each for p in made)
            print(f"{title:<10} {each:<10} {total:>6} pairs {sum(getattr(p, key) == each for p, _ in wrong):>4} wrong")
    for pair, outcome in wrong[: chosen.show]:
        print(f"  {outcome:<10} {pair.kind:<10} {pair.near_miss or 'equal':<9} {pair.answer!r}  {pair.gold!r}")
    print(json.dumps({"seed": chosen.seed, "pairs": len(made), "wrong": len(wrong), "undecided": counts["undecided"]}))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
