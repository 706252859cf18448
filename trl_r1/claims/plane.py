"""Plane geometry as it is written: points with coordinates, and the terms that claims are made of, found in text.

English, Chinese and symbols; points are capital letters. What the terms claim is judged in ``trl_r1.rewards.geometry``.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import NamedTuple

from trl_r1.claims import algebra
from trl_r1.claims.arithmetic import evaluate
from trl_r1.claims.figures import Point
from trl_r1.claims.pieces import Piece
from trl_r1.claims.surds import TooLarge
from trl_r1.claims.tokens import every_token
from trl_r1.claims.trees import Tree, Unreadable, parse


NAME = r"[A-Z](?:_?[0-9]|_\{[0-9]\}|['′])?"
_END = r"(?![A-Za-z0-9])"
LINE = rf"(?P<one>{NAME})(?P<two>{NAME}){_END}"
_FIGURE = rf"(?P<figure>(?:{NAME}){{3,8}}){_END}"
_NUMBER = r"[^(),，（）\n=]{1,60}(?:\([^()\n]{1,30}\)[^(),，（）\n=]{0,30})?"
_PAIR = rf"(?:\\left)?[(（](?P<x>{_NUMBER})[,，](?P<y>{_NUMBER})[)）]"
_IS = (
    r"[\s$*\\)]{0,3}(?P<relation>(?:is|are|equals|to be)(?![A-Za-z])|为|是|等于|即|约为|约等于|≈|\\approx"
    r"|\\(?:neq?|leq?|geq?)(?![A-Za-z])|≠|<=|>=|≤|≥|[=<>])"
)
_TO_BE = r"[\s$]{0,3}(?:坐标)?(?:is|=|为|是|:|：)?[\s$]{0,3}(?:at|the point)?[\s$]{0,3}(?:点)?"
_POINT = re.compile(
    rf"(?<![A-Za-z\\_{{^])(?P<name>{NAME})[\s$]{{0,3}}(?:=|:|：|is|at|为|是)?[\s$]{{0,3}}(?:at )?{_PAIR}(?!\s?=)"
)
_WORDS = r"(?:the |line |segment |side |line segment |直线|线段|边|\$|\\overline\{|\\overleftrightarrow\{| ){0,4}"
_KINDS = (
    r"(?:the |triangle |quadrilateral |polygon |rectangle |square |parallelogram |trapezoid |△|\$|\\triangle ){0,4}"
)
_FIGURES = "(?:三角形|四边形|多边形|矩形|正方形|平行四边形|梯形|△)"
_PERPENDICULAR = r"⟂|⊥|\\perp|is perpendicular to|垂直于|垂直"
_PARALLEL = r"∥|//|\\parallel|is parallel to|平行于|平行"

# kind, what such a term cannot do without (one of these), and how it is written; earlier patterns win. Each is bounded, so
# the search is linear; looking for what it needs first is many times faster.
TERMS: list[tuple[str, tuple[str, ...], re.Pattern[str]]] = [
    (kind, needed, re.compile(pattern))
    for kind, needed, pattern in (
        (
            "midpoint",
            ("idpoint",),
            rf"[Mm]idpoint(?: {NAME})? of {_WORDS}{LINE}\}}?{_TO_BE}(?P<named>{NAME}\s?)?{_PAIR}",
        ),
        ("midpoint", ("的中点",), rf"{LINE}的中点{_TO_BE}(?P<named>{NAME}\s?)?{_TO_BE}{_PAIR}"),
        ("is midpoint", (" is the midpoint",), rf"(?P<middle>{NAME})\$? is the midpoint of {_WORDS}{LINE}"),
        ("is midpoint", ("的中点",), rf"(?P<middle>{NAME})是{_WORDS}{LINE}的中点"),
        (
            "vector",
            ("vec{", "arrow{", "ector ", "向量"),
            rf"(?:\\vec\{{|\\overrightarrow\{{|[Vv]ector |向量){LINE}\}}?{_TO_BE}{_PAIR}",
        ),
        ("slope", ("lope of",), rf"[Ss]lope of {_WORDS}{LINE}\}}?{_IS}"),
        ("slope", ("的斜率",), rf"{LINE}的斜率{_IS}"),
        ("slope", ("_{",), rf"(?<![A-Za-z])[km]_\{{{LINE}\}}{_IS}"),
        ("angle", ("∠", "ngle", "角"), rf"(?:∠|\\angle\s?|[Aa]ngle \$?(?:\\angle )?|角){_FIGURE}{_IS}"),
        ("area", ("rea of",), rf"[Aa]rea of {_KINDS}{_FIGURE}{_IS}"),
        ("area", ("的面积",), rf"{_FIGURES}{_FIGURE}的面积{_IS}"),
        ("area", ("S_{",), rf"(?<![A-Za-z])S_\{{(?:△|\\triangle )?{_FIGURE}\}}{_IS}"),
        ("area", ("[",), rf"(?<!\w)\[{_FIGURE}\]{_IS}"),
        ("perimeter", ("erimeter of",), rf"[Pp]erimeter of {_KINDS}{_FIGURE}{_IS}"),
        ("perimeter", ("的周长",), rf"{_FIGURES}{_FIGURE}的周长{_IS}"),
        (
            "length",
            ("istance ", "ength "),
            rf"(?:[Dd]istance|[Ll]ength) (?:from|between|of) {_WORDS}(?:points? )?(?P<one>{NAME})\$? ?(?:to|and|,)? ?"
            rf"\$?(?:point )?(?P<two>{NAME}){_END}\}}?{_IS}",
        ),
        (
            "length",
            ("的距离",),
            rf"(?P<one>{NAME})点?(?:到|与|和|、)点?(?P<two>{NAME})(?:点|两点)?(?:之间|间)?的距离{_IS}",
        ),
        ("length", ("的长",), rf"{LINE}的(?:长度|长){_IS}"),
        (
            "lines",
            ("⟂", "⊥", "perp", "垂直", "∥", "//", "parallel", "平行"),
            rf"(?<![A-Za-z_{{]){LINE}\}}?\$?\s?(?:(?P<upright>{_PERPENDICULAR})|{_PARALLEL})\s?{_WORDS}"
            rf"(?P<three>{NAME})(?P<four>{NAME}){_END}",
        ),
        (
            "length",
            (),
            rf"(?:(?<![A-Za-z0-9_{{'′∠])|(?<=\\overline\{{)|(?<=arrow\{{)){LINE}\}}?[|∣]?"
            rf"(?P<square>\^2|\^\{{2\}}|²)?{_IS}(?!\s?[(（])",
        ),
    )
]
MOST_POINTS = 1000  # declared in one text


class Spot(NamedTuple):
    """Where a point lies: ``exact`` for rationals and square roots, ``terms`` for Z3; one of them may be missing."""

    exact: Point | None
    terms: algebra.Place | None


def spots_in(text: str) -> list[tuple[int, str, Spot]]:
    """(place, name, where) of every point a text declares, in order."""
    spots = []
    for match in islice(_POINT.finditer(text), MOST_POINTS):
        spot = _spot(match)
        if spot is not None:
            spots.append((match.start(), point_name(match["name"]), spot))
    return spots


def points_in(text: str) -> list[tuple[int, str, Point]]:
    """(place, name, coordinates) of every point with exact coordinates that a text declares, in order."""
    return [(place, name, spot.exact) for place, name, spot in spots_in(text) if spot.exact is not None]


def point_name(name: str) -> str:
    return re.sub(r"[_{}]", "", name).replace("′", "'")


def _spot(match: re.Match[str]) -> Spot | None:
    try:
        trees = [tree_of(re.sub(r"\\right\s?$", "", match[part])) for part in "xy"]
    except Unreadable:
        return None
    exact: Point | None = None
    terms: algebra.Place | None = None
    try:
        exact = (evaluate(trees[0]), evaluate(trees[1]))
    except (Unreadable, TooLarge):
        exact = None  # letters, or roots of roots
    try:
        terms = (algebra.term(trees[0]), algebra.term(trees[1]))
    except Unreadable:
        terms = None
    return None if exact is None and terms is None else Spot(exact, terms)


def tree_of(text: str) -> Tree:
    """The expression that a whole text is.

    Raises:
        Unreadable: it is none.
    """
    line = every_token(text)
    return parse(line, Piece(0, len(line), True))
