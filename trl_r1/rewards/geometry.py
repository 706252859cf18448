"""Geometry: claims about points with known coordinates, checked exactly; the same contract as ``trl_r1.rewards.logic``.

Points are declared as ``A(1, 2)``, ``A = (1, 2)``, ``点A(1, 2)``, in the prompt or in the reply; the prompt's win.
What is understood, in English, Chinese and symbols (all points in capital letters, lines and figures as ``AB``, ``ABC``):

    lengths      AB = 5, |AB| = 5, AB^2 = 25, AB = CD, the distance from A to B is 5, A到B的距离是5, AB的长为5
    midpoints    the midpoint of AB is (2, 3), AB的中点是(2, 3), M is the midpoint of AB
    slopes       the slope of AB is 2, k_{AB} = 2, AB的斜率为2          vectors    \\vec{AB} = (3, 4), 向量AB = (3, 4)
    angles       angle ABC = 90°, ∠ABC = 90°, 角ABC是90度; in degrees
    figures      the area of triangle ABC is 6, S_{△ABC} = 6, 三角形ABC的面积是6; the perimeter, 周长
    lines        AB ⟂ CD, AB ∥ CD, AB is perpendicular to CD, AB垂直于CD, AB平行于CD

Numbers are rationals and square roots; nothing is a float. Equality is exact, or to the digits that a decimal states;
``≈`` as in ``trl_r1.rewards.arithmetic``. A chain, ``AB = sqrt(9 + 16) = 5``, is a claim per member.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from trl_r1.rewards import figures
from trl_r1.rewards.arithmetic import evaluate, related
from trl_r1.rewards.claims import MOST_CLAIMS, Claim, asserted, links
from trl_r1.rewards.expressions import Piece, every_token
from trl_r1.rewards.figures import Point, Quantity, cross, dot, vector
from trl_r1.rewards.logic import ClaimReward
from trl_r1.rewards.surds import Exact, TooLarge, sign
from trl_r1.rewards.trees import Unreadable, parse


_NAME = r"[A-Z](?:_?[0-9]|_\{[0-9]\}|['′])?"
_END = r"(?![A-Za-z0-9])"
_LINE = rf"(?P<one>{_NAME})(?P<two>{_NAME}){_END}"
_FIGURE = rf"(?P<figure>(?:{_NAME}){{3,8}}){_END}"
_NUMBER = r"[^(),，（）\n=]{1,60}(?:\([^()\n]{1,30}\)[^(),，（）\n=]{0,30})?"
_PAIR = rf"(?:\\left)?[(（](?P<x>{_NUMBER})[,，](?P<y>{_NUMBER})[)）]"
_IS = (
    r"[\s$*\\)]{0,3}(?P<relation>(?:is|are|equals|to be|为|是|等于|即)(?![A-Za-z])|约为|约等于|≈|\\approx"
    r"|\\(?:neq?|leq?|geq?)(?![A-Za-z])|≠|<=|>=|≤|≥|[=<>])"
)
_TO_BE = r"[\s$]{0,3}(?:坐标)?(?:is|=|为|是|:|：)?[\s$]{0,3}(?:at|the point)?[\s$]{0,3}(?:点)?"
_POINT = re.compile(
    rf"(?<![A-Za-z\\_{{^])(?P<name>{_NAME})[\s$]{{0,3}}(?:=|:|：|is|at|为|是)?[\s$]{{0,3}}(?:at )?{_PAIR}(?!\s?=)"
)
_WORDS = r"(?:the |line |segment |side |line segment |直线|线段|边|\$|\\overline\{|\\overleftrightarrow\{| ){0,4}"
_KINDS = (
    r"(?:the |triangle |quadrilateral |polygon |rectangle |square |parallelogram |trapezoid |△|\$|\\triangle ){0,4}"
)
_FIGURES = "(?:三角形|四边形|多边形|矩形|正方形|平行四边形|梯形|△)"
_PERPENDICULAR = r"⟂|⊥|\\perp|is perpendicular to|垂直于|垂直"
_PARALLEL = r"∥|//|\\parallel|is parallel to|平行于|平行"

# kind, and how it is written; earlier patterns win. Each is bounded, so the search is linear.
_TERMS: list[tuple[str, re.Pattern[str]]] = [
    (kind, re.compile(pattern))
    for kind, pattern in (
        ("midpoint", rf"[Mm]idpoint(?: {_NAME})? of {_WORDS}{_LINE}\}}?{_TO_BE}(?P<named>{_NAME}\s?)?{_PAIR}"),
        ("midpoint", rf"{_LINE}的中点{_TO_BE}(?P<named>{_NAME}\s?)?{_TO_BE}{_PAIR}"),
        ("is midpoint", rf"(?P<middle>{_NAME})\$? is the midpoint of {_WORDS}{_LINE}"),
        ("is midpoint", rf"(?P<middle>{_NAME})是{_WORDS}{_LINE}的中点"),
        ("vector", rf"(?:\\vec\{{|\\overrightarrow\{{|[Vv]ector |向量){_LINE}\}}?{_TO_BE}{_PAIR}"),
        ("slope", rf"[Ss]lope of {_WORDS}{_LINE}\}}?{_IS}"),
        ("slope", rf"{_LINE}的斜率{_IS}"),
        ("slope", rf"(?<![A-Za-z])[km]_\{{{_LINE}\}}{_IS}"),
        ("angle", rf"(?:∠|\\angle\s?|[Aa]ngle \$?(?:\\angle )?|角){_FIGURE}{_IS}"),
        ("area", rf"[Aa]rea of {_KINDS}{_FIGURE}{_IS}"),
        ("area", rf"{_FIGURES}{_FIGURE}的面积{_IS}"),
        ("area", rf"(?<![A-Za-z])S_\{{(?:△|\\triangle )?{_FIGURE}\}}{_IS}"),
        ("area", rf"(?<!\w)\[{_FIGURE}\]{_IS}"),
        ("perimeter", rf"[Pp]erimeter of {_KINDS}{_FIGURE}{_IS}"),
        ("perimeter", rf"{_FIGURES}{_FIGURE}的周长{_IS}"),
        (
            "length",
            rf"(?:[Dd]istance|[Ll]ength) (?:from|between|of) {_WORDS}(?:points? )?(?P<one>{_NAME})\$? ?(?:to|and|,)? ?"
            rf"\$?(?:point )?(?P<two>{_NAME}){_END}\}}?{_IS}",
        ),
        ("length", rf"(?P<one>{_NAME})点?(?:到|与|和|、)点?(?P<two>{_NAME})(?:点|两点)?(?:之间|间)?的距离{_IS}"),
        ("length", rf"{_LINE}的(?:长度|长){_IS}"),
        (
            "lines",
            rf"(?<![A-Za-z_{{]){_LINE}\}}?\$?\s?(?:(?P<upright>{_PERPENDICULAR})|{_PARALLEL})\s?{_WORDS}"
            rf"(?P<three>{_NAME})(?P<four>{_NAME}){_END}",
        ),
        (
            "length",
            rf"(?:(?<![A-Za-z0-9_{{'′∠])|(?<=\\overline\{{)|(?<=arrow\{{)){_LINE}\}}?[|∣]?"
            rf"(?P<square>\^2|\^\{{2\}}|²)?{_IS}(?!\s?[(（])",
        ),
    )
]
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
MOST_POINTS = 1000  # declared in one text
MOST_AHEAD = 200  # characters of a chain of members


def points_in(text: str) -> list[tuple[int, str, Point]]:
    """(place, name, coordinates) of every point a text declares, in order."""
    found = []
    for match in islice(_POINT.finditer(text), MOST_POINTS):
        pair = _pair(match)
        if pair is not None:
            found.append((match.start(), _name(match["name"]), pair))
    return found


def _name(name: str) -> str:
    return re.sub(r"[_{}]", "", name).replace("′", "'")


def _pair(match: re.Match[str]) -> Point | None:
    coordinates = [_value(match[part]) for part in "xy"]
    return None if coordinates[0] is None or coordinates[1] is None else (coordinates[0], coordinates[1])


def _value(text: str) -> Exact | None:
    """The exact value of a whole text, such as a coordinate; None if it has none."""
    line = every_token(re.sub(r"\\right\s?$", "", text))
    try:
        value = evaluate(parse(line, Piece(0, len(line), True)))
        return value
    except (Unreadable, TooLarge):
        return None


def claims(text: str, prompt: str = "") -> list[Claim]:
    """Every geometric claim found in a text, in order of place, with its span and verdict: right, wrong, or not judged.

    Args:
        prompt: where points may be declared too. A point of the prompt keeps its place, whatever the reply says.

    >>> [claim.right for claim in claims("A(0, 0), B(3, 4), so AB = 5 and the midpoint of AB is (2, 2).")]
    [True, False]
    """
    givens = {name: point for _, name, point in points_in(prompt)}
    declared = points_in(text)
    found: list[Claim] = []
    seen: set[Any] = set()
    taken: set[int] = set()
    terms = [
        (match.start(), order, kind, match)
        for order, (kind, pattern) in enumerate(_TERMS)
        for match in islice(pattern.finditer(text), MOST_CLAIMS)
    ]
    known: dict[str, Point] = {}
    told = 0
    for _, _, kind, match in sorted(terms, key=lambda term: term[:2])[:MOST_CLAIMS]:
        while told < len(declared) and declared[told][0] < match.end():
            known[declared[told][1]] = declared[told][2]
            told += 1
        known.update(givens)
        place = match.end("relation") if "relation" in match.re.groupindex else match.end()
        if place in taken:
            continue  # the same claim, in a more special form
        for claim in _judged(kind, match, text, known):
            taken.add(place)
            if not asserted(text, claim.start, claim.end):
                claim = replace(claim, right=None, why="not asserted")
            elif claim.key in seen:
                claim = replace(claim, right=None, why="repeated")
            else:
                seen.add(claim.key)
            found.append(claim)
    return sorted(found, key=lambda claim: (claim.start, claim.end))


def _judged(kind: str, match: re.Match[str], text: str, known: dict[str, Point]) -> Iterator[Claim]:
    names = [_name(match[group]) for group in ("one", "two", "three", "four") if group in match.re.groupindex]
    if kind in ("angle", "area", "perimeter"):
        names = [_name(name) for name in re.findall(_NAME, match["figure"])]
    if any(name not in known for name in names):
        return
    places = [known[name] for name in names]
    if kind == "length" and _NOT_A_LENGTH.search(text[max(0, match.start() - 16) : match.start()]):
        return
    if kind == "angle" and len(places) != 3:
        return
    try:
        if kind in ("midpoint", "vector", "is midpoint", "lines"):
            yield _whole(kind, match, names, places, known)
            return
        quantity = _quantity(kind, match, places)
        yield from _compared(kind, match, text, names, quantity, known)
    except (Unreadable, TooLarge):
        return


def _whole(kind: str, match: re.Match[str], names: list[str], places: list[Point], known: dict[str, Point]) -> Claim:
    """A claim without a number to its right: a place, or how two lines lie."""
    if kind == "lines":
        one, two = vector(places[0], places[1]), vector(places[2], places[3])
        if (0, 0) in (one, two):
            raise Unreadable("a line through one point")
        upright = match["upright"] is not None
        right = sign(dot(one, two) if upright else cross(one, two)) == 0
        pairs = sorted([tuple(sorted(names[:2])), tuple(sorted(names[2:]))])
        return Claim(match.start(), match.end(), right, "", (kind, upright, *pairs))
    target = figures.midpoint(*places) if kind != "vector" else vector(*places)
    if kind == "is midpoint":
        middle = known.get(_name(match["middle"]))
        if middle is None:
            raise Unreadable("a point without a place")
        right = middle == target
        return Claim(match.start(), match.end(), right, "", ("midpoint", *sorted(names), middle))
    stated = [_tree(match[part]) for part in "xy"]
    values = [evaluate(tree) for tree in stated]
    right = all(related("=", one, two, None, tree) for one, two, tree in zip(target, values, stated, strict=True))
    order = names if kind == "vector" else sorted(names)
    return Claim(match.start(), match.end(), right, "", (kind, *order, *values))


def _tree(text: str) -> Any:
    line = every_token(text)
    return parse(line, Piece(0, len(line), True))


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


_OTHER = re.compile(rf"[\s$|(]{{0,3}}(?:\\overline\{{)?{_LINE}\}}?\|?(?!\s?[-+*/^²·×])")
_RIGHT_ANGLE = re.compile(r"[\s$]{0,3}(?:a right angle|直角)")


def _compared(
    kind: str, match: re.Match[str], text: str, names: list[str], quantity: Quantity, known: dict[str, Point]
) -> Iterator[Claim]:
    relation, after = _RELATIONS[match["relation"]], match.end("relation")
    key = (kind, match.groupdict().get("square") or "", *_order(kind, names))
    other = _OTHER.match(text, after)
    if kind == "angle" and (right_angle := _RIGHT_ANGLE.match(text, after)):
        holds = quantity(evaluate(_tree("90"))) == 0
        yield Claim(match.start(), right_angle.end(), holds, "", (*key, "=", "90"))
        return
    if kind == "length" and other and not match["relation"].isalpha():
        ends = [_name(other["one"]), _name(other["two"])]
        if all(name in known for name in ends) and not match.groupdict().get("square"):
            first, second = vector(*(known[name] for name in names)), vector(*(known[name] for name in ends))
            side = sign(dot(first, first) - dot(second, second))
            table = {"=": side == 0, "<": side < 0, ">": side > 0, "!=": side != 0, "<=": side <= 0, ">=": side >= 0}
            if sorted(ends) != sorted(names) and relation in table:
                yield Claim(match.start(), other.end(), table[relation], "", (*key, relation, *sorted(ends)))
        return
    ahead = re.split(r"\n|[。；;]", text[after : after + MOST_AHEAD], maxsplit=1)[0]
    for number, link in enumerate(links(every_token(f"0={ahead}"))):  # two characters stand in for the term
        present = link.relation if number else relation
        if link.right is None or (number and not (link.chained and present in "=~" and relation in "=~")):
            return
        start = after + link.start - 2 if number else match.start()
        holds = figures.holds(quantity, present, link.right)
        yield Claim(start, after + link.end - 2, holds, "", (*key, present, str(evaluate(link.right))))


def _order(kind: str, names: list[str]) -> list[str]:
    if kind == "angle":
        return [names[1], *sorted((names[0], names[2]))]
    return sorted(names)


@dataclass(frozen=True)
class Geometry(ClaimReward):
    """``1 - wrong / checked`` over the geometric claims of a reply, in [0, 1]; None below ``minimum_claims``.

    Checked are lengths, midpoints, slopes, vectors, angles, areas, perimeters, right angles and parallels between
    points whose coordinates the prompt or the reply gives. Repeats count for nothing, and beyond ``most_claims`` more
    right ones do not either. ``score`` and ``spans`` take the prompt as their second argument.

    Source: ours; no published reward checks geometry in a chain of thought without a model.
    """

    minimum_claims: int = field(default=1, metadata={"help": "Checkable claims it takes to judge a reply."})
    most_claims: int = field(default=64, metadata={"help": "Beyond that many, right claims buy nothing."})
    name: str = field(default="geometry", metadata={"help": "The metric is logged as rewards/<name>/mean."})

    def claims_of(self, texts: list[str], prompts: list[str]) -> list[list[Claim]]:
        """The claims of each reply, with the points of its prompt."""
        return [claims(text, prompt) for text, prompt in zip(texts, prompts, strict=True)]


geometry_reward = Geometry()
