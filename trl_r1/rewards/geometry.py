"""Geometry: claims about points with known coordinates, checked exactly; the same contract as ``trl_r1.rewards.logic``.

Points are declared as ``A(1, 2)``, ``A = (1, 2)``, ``点A(1, 2)``, in the prompt or in the reply; the prompt's win.
What is understood, in English, Chinese and symbols (all points in capital letters, lines and figures as ``AB``, ``ABC``):

    lengths      AB = 5, |AB| = 5, AB^2 = 25, AB = CD, the distance from A to B is 5, A到B的距离是5, AB的长为5
    midpoints    the midpoint of AB is (2, 3), AB的中点是(2, 3), M is the midpoint of AB
    slopes       the slope of AB is 2, k_{AB} = 2, AB的斜率为2          vectors    \\vec{AB} = (3, 4), 向量AB = (3, 4)
    angles       angle ABC = 90°, ∠ABC = 90°, 角ABC是90度; in degrees
    figures      the area of triangle ABC is 6, S_{△ABC} = 6, 三角形ABC的面积是6; the perimeter, 周长
    lines        AB ⟂ CD, AB ∥ CD, AB is perpendicular to CD, AB垂直于CD, AB平行于CD

Numbers are rationals and square roots; nothing is a float. What these cannot decide (letters in coordinates, roots of
roots) goes to Z3 (``trl_r1.claims.algebra``). Equality is exact, or to the digits that a decimal states;
``≈`` as in ``trl_r1.claims.arithmetic``. A chain, ``AB = sqrt(9 + 16) = 5``, is a claim per member.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from trl_r1.claims import algebra, figures
from trl_r1.claims.arithmetic import evaluate, related
from trl_r1.claims.figures import Point, Quantity, cross, dot, vector
from trl_r1.claims.find import MOST_CLAIMS, Claim, asserted, links, stated
from trl_r1.claims.plane import LINE, NAME, TERMS, Spot, point_name, points_in, spots_in, tree_of
from trl_r1.claims.surds import TooLarge, sign
from trl_r1.claims.tokens import every_token
from trl_r1.claims.trees import Tree, Unreadable
from trl_r1.rewards.logic import ClaimReward
from trl_r1.storage.structured import option


__all__ = ["Geometry", "claims", "claims_of", "geometry_reward", "points_in"]


_NOT_A_LENGTH = re.compile(  # what stands before AB when "AB =" is no claim about its length alone
    r"(?:arc|vector|slope|line|ray|midpoint of|of|向量|弧|直线|射线|vec\{|arrow\{|[0-9+*/·×÷^√-]"
    r"|\\cdot|\\times|\\frac\{)[\s$|]{0,3}$"
)
_RELATIONS = {
    **dict.fromkeys(("is", "are", "equals", "to be", "为", "是", "等于", "即", "="), "="),
    **dict.fromkeys(("约为", "约等于", "≈", r"\approx"), "~"),
    **dict.fromkeys((r"\ne", r"\neq", "≠"), "!="),
    **{r"\le": "<=", r"\leq": "<=", "≤": "<=", "<=": "<=", "<": "<", ">": ">"},
    **{r"\ge": ">=", r"\geq": ">=", "≥": ">=", ">=": ">="},
}
MOST_ASKED = 16  # claims of one text that go to Z3
MOST_AHEAD = 200  # characters of a chain of members

ClaimToDecide = tuple[Claim, "algebra.Formula | None"]  # a formula: what Z3 has to decide


def claims(text: str, prompt: str = "") -> list[Claim]:
    """Every geometric claim found in a text, in order of place, with its span and verdict: right, wrong, or not judged.

    What only Z3 could decide is not judged here (``why`` "undecided"). Code and hidden text are not read.

    Args:
        prompt: where points may be declared too. A point of the prompt keeps its place, whatever the reply says.

    >>> [claim.right for claim in claims("A(0, 0), B(3, 4), so AB = 5 and the midpoint of AB is (2, 2).")]
    [True, False]
    """
    return [claim for claim, _ in _find(text, prompt)]


def _find(text: str, prompt: str) -> list[ClaimToDecide]:
    text = stated(text)
    fixed = {name: spot for _, name, spot in spots_in(prompt)}
    declared = spots_in(text)
    claims_found: list[ClaimToDecide] = []
    keys: set[Any] = set()
    places: set[int] = set()
    terms = [
        (match.start(), order, kind, match)
        for order, (kind, needed, pattern) in enumerate(TERMS)
        if not needed or any(word in text for word in needed)
        for match in islice(pattern.finditer(text), MOST_CLAIMS)
    ]
    known: dict[str, Spot] = {}
    next_declared = 0
    for _, _, kind, match in sorted(terms, key=lambda term: term[:2])[:MOST_CLAIMS]:
        while next_declared < len(declared) and declared[next_declared][0] < match.end():
            known[declared[next_declared][1]] = declared[next_declared][2]
            next_declared += 1
        known.update(fixed)
        place = match.end("relation") if "relation" in match.re.groupindex else match.end()
        if place in places:
            continue  # the same claim, in a more special form
        for claim, formula in _judged(kind, match, text, known):
            places.add(place)
            if not asserted(text, claim.start, claim.end):
                claim, formula = replace(claim, right=None, why="not asserted"), None
            elif claim.key in keys:
                claim, formula = replace(claim, right=None, why="repeated"), None
            else:
                keys.add(claim.key)
            claims_found.append((claim, formula))
    return sorted(claims_found, key=lambda one: (one[0].start, one[0].end))


def _judged(kind: str, match: re.Match[str], text: str, known: dict[str, Spot]) -> Iterator[ClaimToDecide]:
    names = [point_name(match[group]) for group in ("one", "two", "three", "four") if group in match.re.groupindex]
    if kind in ("angle", "area", "perimeter"):
        names = [point_name(name) for name in re.findall(NAME, match["figure"])]
    if any(name not in known for name in names):
        return
    spots = [known[name] for name in names]
    if kind == "length" and _NOT_A_LENGTH.search(text[max(0, match.start() - 16) : match.start()]):
        return
    if kind == "angle" and len(spots) != 3:
        return
    if kind not in ("midpoint", "vector", "is midpoint", "lines"):
        yield from _compared(kind, match, text, names, spots, known)
        return
    try:
        yield _whole(kind, match, names, _exact_places(spots), known), None
    except (Unreadable, TooLarge):
        with suppress(Unreadable):
            yield _open_whole(kind, match, names, _terms_of(spots), known)


def _exact_places(spots: Sequence[Spot]) -> list[Point]:
    places = [spot.exact for spot in spots if spot.exact is not None]
    if len(places) < len(spots):
        raise Unreadable("a point with letters in its coordinates")
    return places


def _terms_of(spots: Sequence[Spot]) -> list[algebra.Place]:
    places = [spot.terms for spot in spots if spot.terms is not None]
    if len(places) < len(spots):
        raise Unreadable("a coordinate that is no term")
    return places


def _open(start: int, end: int, formula: algebra.Formula, key: Any) -> ClaimToDecide:
    return Claim(start, end, None, "undecided", key), formula


def _whole(kind: str, match: re.Match[str], names: list[str], places: list[Point], known: dict[str, Spot]) -> Claim:
    """A claim without a number to its right: a place, or how two lines lie."""
    if kind == "lines":
        one, two = vector(places[0], places[1]), vector(places[2], places[3])
        if (0, 0) in (one, two):
            raise Unreadable("a line through one point")
        upright = match["upright"] is not None
        right = sign(dot(one, two) if upright else cross(one, two)) == 0
        return Claim(match.start(), match.end(), right, "", _key_of_lines(upright, names))
    target = figures.midpoint(*places) if kind != "vector" else vector(*places)
    if kind == "is midpoint":
        middle = known.get(point_name(match["middle"]))
        if middle is None or middle.exact is None:
            raise Unreadable("a point without a place")
        right = middle.exact == target
        return Claim(match.start(), match.end(), right, "", ("midpoint", *sorted(names), middle.exact))
    stated_trees = [tree_of(match[part]) for part in "xy"]
    values = [evaluate(tree) for tree in stated_trees]
    right = all(
        related("=", one, two, None, tree) for one, two, tree in zip(target, values, stated_trees, strict=True)
    )
    order = names if kind == "vector" else sorted(names)
    return Claim(match.start(), match.end(), right, "", (kind, *order, *values))


def _open_whole(
    kind: str, match: re.Match[str], names: list[str], places: list[algebra.Place], known: dict[str, Spot]
) -> ClaimToDecide:
    if kind == "lines":
        upright = match["upright"] is not None
        return _open(match.start(), match.end(), algebra.lines(upright, places), _key_of_lines(upright, names))
    if kind == "is midpoint":
        middle = known.get(point_name(match["middle"]))
        if middle is None or middle.terms is None:
            raise Unreadable("a point without a place")
        there = middle.terms
    else:
        there = (algebra.term(tree_of(match["x"])), algebra.term(tree_of(match["y"])))
    order = names if kind == "vector" else sorted(names)
    formula = algebra.place(kind, places, there)
    return _open(match.start(), match.end(), formula, (kind, *order, str(there)))


def _key_of_lines(upright: bool, names: list[str]) -> Any:
    return ("lines", upright, *sorted([tuple(sorted(names[:2])), tuple(sorted(names[2:]))]))


def _quantity(kind: str, match: re.Match[str], places: list[Point]) -> Quantity:
    if kind == "length":
        if match.re.groupindex.get("square") and match["square"]:
            across = vector(*places[:2])
            return figures.number(dot(across, across))
        return figures.length(*places[:2])
    if kind == "slope":
        return figures.slope(*places)
    if kind == "angle":
        return figures.angle(*places)
    return figures.area(places) if kind == "area" else figures.perimeter(places)


_OTHER = re.compile(rf"[\s$|(]{{0,3}}(?:\\overline\{{)?{LINE}\}}?\|?(?!\s?[-+*/^²·×])")
_RIGHT_ANGLE = re.compile(r"[\s$]{0,3}(?:a right angle|直角)")


def _compared(
    kind: str, match: re.Match[str], text: str, names: list[str], spots: list[Spot], known: dict[str, Spot]
) -> Iterator[ClaimToDecide]:
    relation, after = _RELATIONS[match["relation"]], match.end("relation")
    square = match.groupdict().get("square") or ""
    key = (kind, square, *_order(kind, names))
    other = _OTHER.match(text, after)
    if kind == "angle" and (right_angle := _RIGHT_ANGLE.match(text, after)):
        claim = _against(kind, match, spots, "=", tree_of("90"), match.start(), right_angle.end(), (*key, "=", "90"))
        if claim is not None:
            yield claim
        return
    if kind == "length" and other and not match["relation"].isalpha():
        ends = [point_name(other["one"]), point_name(other["two"])]
        if all(name in known for name in ends) and not square and sorted(ends) != sorted(names):
            key = (*key, relation, *sorted(ends))
            claim = _two_lengths(relation, spots, [known[name] for name in ends], match.start(), other.end(), key)
            if claim is not None:
                yield claim
        return
    ahead = re.split(r"\n|[。；;]", text[after : after + MOST_AHEAD], maxsplit=1)[0]
    for count, link in enumerate(links(every_token(f"0={ahead}"))):  # two characters stand in for the term
        present = link.relation if count else relation
        if link.right is None or (count and not (link.chained and present in "=~" and relation in "=~")):
            return
        start = after + link.start - 2 if count else match.start()
        claim = _against(kind, match, spots, present, link.right, start, after + link.end - 2, (*key, present))
        if claim is None:
            return
        yield claim


def _against(
    kind: str, match: re.Match[str], spots: list[Spot], relation: str, tree: Tree, start: int, end: int, key: Any
) -> ClaimToDecide | None:
    """One comparison with a stated value: exactly, else as a formula, else None."""
    try:
        holds = figures.holds(_quantity(kind, match, _exact_places(spots)), relation, tree)
        return Claim(start, end, holds, "", (*key, str(evaluate(tree)))), None
    except (Unreadable, TooLarge):
        pass  # beyond rationals and square roots: Z3 may know
    try:
        places = _terms_of(spots)
        if kind == "angle":
            if relation != "=":
                return None
            formula = algebra.angle(places, tree)
        else:
            measured = algebra.quantity(kind, places, bool(match.groupdict().get("square")))
            formula = algebra.compared(measured, relation, tree)
        return _open(start, end, formula, (*key, str(algebra.term(tree))))
    except Unreadable:
        return None


def _two_lengths(
    relation: str, spots: list[Spot], others: list[Spot], start: int, end: int, key: Any
) -> ClaimToDecide | None:
    """Two lengths compared by their squares."""
    if relation not in _SIDES:
        return None
    try:
        first, second = vector(*_exact_places(spots)), vector(*_exact_places(others))
        side = sign(dot(first, first) - dot(second, second))
        return Claim(start, end, _SIDES[relation](side), "", key), None
    except (Unreadable, TooLarge):
        pass  # letters in the coordinates: Z3 may know
    try:
        squares = [algebra.square_of_length(*_terms_of(pair)) for pair in (spots, others)]
        return _open(start, end, [relation, *squares], key)
    except Unreadable:
        return None


_SIDES: dict[str, Callable[[int], bool]] = {
    "=": lambda side: side == 0,
    "!=": lambda side: side != 0,
    "<": lambda side: side < 0,
    ">": lambda side: side > 0,
    "<=": lambda side: side <= 0,
    ">=": lambda side: side >= 0,
}


def _order(kind: str, names: list[str]) -> list[str]:
    if kind == "angle":
        return [names[1], *sorted((names[0], names[2]))]
    return sorted(names)


def claims_of(texts: list[str], prompts: list[str], seconds: float = 5.0, megabytes: int = 1024) -> list[list[Claim]]:
    """``claims`` for many texts, with what rationals and square roots leave undecided judged by Z3, in the killable pool.

    Args:
        seconds, megabytes: for one text. What was not decided by then stays undecided.

    Raises:
        ImportError: Z3 is not installed (only where a claim needs it).
    """
    rows = [_find(text, prompt) for text, prompt in zip(texts, prompts, strict=True)]
    asked: list[tuple[int, list[int]]] = []  # (row, the claims of it that Z3 is asked about)
    items = []
    for row, row_claims in enumerate(rows):
        premises = algebra.givens(prompts[row]) if any(formula for _, formula in row_claims) else []
        spots = [*spots_in(prompts[row]), *spots_in(texts[row])] if any(formula for _, formula in row_claims) else []
        places = [["place", *spot.terms] for _, _, spot in spots if spot.terms is not None]
        spoken = set().union(*map(algebra.names_in, [*premises, *places]))  # of other letters nothing can be known
        chosen = [n for n, (_, formula) in enumerate(row_claims) if formula and algebra.names_in(formula) <= spoken]
        if chosen:
            asked.append((row, chosen[:MOST_ASKED]))
            items.append([[row_claims[n][1] for n in chosen[:MOST_ASKED]], premises, seconds * 0.8])
    results = [[claim for claim, _ in row_claims] for row_claims in rows]
    if items:
        from trl_r1.sandbox import pool as verifier

        outcomes = verifier.run("trl_r1.claims.solver:decide", items, seconds=seconds, megabytes=megabytes)
        for (row, chosen), outcome in zip(asked, outcomes, strict=True):
            for n, verdict in zip(
                chosen, outcome.value or (), strict=False
            ):  # a text that was given up has no verdicts
                right = {"right": True, "wrong": False}.get(verdict)
                if right is not None:
                    results[row][n] = replace(results[row][n], right=right, why="")
    return results


@dataclass(frozen=True)
class Geometry(ClaimReward):
    """``1 - wrong / checked`` over the geometric claims of a reply, in [0, 1]; None below ``minimum_claims``.

    Checked are lengths, midpoints, slopes, vectors, angles, areas, perimeters, right angles and parallels between
    points whose coordinates the prompt or the reply gives. Repeats, hidden text and code count for nothing, and beyond
    ``most_claims`` more right claims do not either. ``score`` and ``spans`` take the prompt as their second argument.

    With ``algebraic``, claims that rationals and square roots cannot decide (letters in coordinates, nested and cubic
    roots) go to Z3: right if they hold for all numbers that the prompt allows, wrong if for none, else not counted.

    Source: ours; no published reward checks geometry in a chain of thought without a model.

    Raises:
        ImportError: algebraic=True without Z3.
    """

    minimum_claims: int = option(1, "Checkable claims it takes to judge a reply.")
    most_claims: int = option(16, "Beyond that many, right claims buy nothing.")
    algebraic: bool | None = option(
        None, "Ask Z3 what square roots do not decide; None: if the extra logic is installed."
    )
    seconds: float = option(5.0, "Solver time per reply.")
    megabytes: int = option(1024, "Solver memory, in MiB.")
    name: str = option("geometry", "The metric is logged as rewards/<name>/mean.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.algebraic and importlib.util.find_spec("z3") is None:
            raise ImportError('algebraic=True needs Z3, which is not installed. Try: pip install "trl-r1[logic]"')

    def claims_of(self, texts: list[str], prompts: list[str]) -> list[list[Claim]]:
        """The claims of each reply, with the points of its prompt."""
        asks = importlib.util.find_spec("z3") is not None if self.algebraic is None else self.algebraic
        if not asks:
            return [claims(text, prompt) for text, prompt in zip(texts, prompts, strict=True)]
        return claims_of(texts, prompts, self.seconds, self.megabytes)


geometry_reward = Geometry()
