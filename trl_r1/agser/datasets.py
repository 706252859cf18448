"""Questions with a truth: files in, questions, prompts and judges of answers out.

    books       Kaggle saurabhbagchi/books-dataset, books.csv            author and year of a book
    movies      Kaggle rounakbanik/the-movies-dataset, movies_metadata.csv, with credits.csv beside it     the cast
    countries   Kaggle nelgiriyewithana/countries-of-the-world-2023, world-data-2023.csv                   the capital
    questions   any rows with a question and a gold answer (``trl_r1.data.columns.load_rows``)
    facts       265 questions of our own, `read_facts`
    mini:knowledge, mini:knowledge-templated        the world trained here, see ``trl_r1.mini.books``

The three files cannot be passed on by us; download them. Questions and label rules are those that AGSER's paper takes from
InterrogateLLM (Yehuda et al. 2024, arXiv:2403.02889; rules read in its code, commit b1f4f0b). Departures, each marked:
names in an answer are runs of capitalised words, not spaCy's entities; the three examples of the prompt are ours.
"""

from __future__ import annotations

import ast
import csv
import html
import json
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trl_r1.agser.split import Prompt
from trl_r1.answers.facts import found_in
from trl_r1.answers.types import declared_type


FACTS = "facts"  # the name of our own questions
CAST_SHARE = 0.8  # of the names in an answer that must be in the cast, and more
BOOK_FACTS = 2  # of author, year and publisher that an answer must name
INSTRUCTION = "Answer the last question in the form of the examples, and write nothing after its answer."


@dataclass(frozen=True)
class Asked:
    """A question, and what a right answer is made of."""

    question: str
    truth: tuple[str, ...]
    group: str = "all"
    kind: str = ""  # declared type of the truth (`trl_r1.answers.types`)


@dataclass(frozen=True)
class QuestionSource:
    """Questions, how they are put, and who judges the answers."""

    asked: list[Asked]
    examples: tuple[tuple[str, str], ...]  # for the few-shot prompt; () puts the question as a chat message
    right: Callable[[str, Sequence[str]], bool]  # (answer, truth)
    cut: bool = True  # answers end with their first line

    def prompts(self) -> list[Prompt]:
        if not self.examples:
            return [[{"role": "user", "content": asked.question}] for asked in self.asked]
        shown = "".join(f"Question: {question}\nAnswer: {answer}\n\n" for question, answer in self.examples)
        return [f"{INSTRUCTION}\n\n{shown}Question: {asked.question}\nAnswer:" for asked in self.asked]

    def made_up(self, number: int, answer: str) -> bool | None:
        return not self.right(answer, self.asked[number].truth)


@dataclass(frozen=True)
class Judged(QuestionSource):
    """Questions whose answers are judged as everywhere else here."""

    def made_up(self, number: int, answer: str) -> bool | None:
        """None: no gold of this row can be read."""
        from trl_r1.rewards.accuracy import verdict

        asked = self.asked[number]
        found = [verdict(answer, fact, answer_type=asked.kind) for fact in asked.truth]
        return False if True in found else None if all(one is None for one in found) else True


def plain(text: str) -> str:
    """Letters and digits of a text, folded, words one space apart, without accents."""
    bare = "".join(c for c in unicodedata.normalize("NFKD", text.casefold()) if unicodedata.category(c)[0] != "M")
    return " ".join(re.findall(r"[^\W_]+", bare))


def says(answer: str, fact: str) -> bool:
    """Whether an answer names a fact, as whole words.

    >>> says("It was Camus, in 1942.", "camus"), says("in 1942", "194"), says("It is 42.5.", "42")
    (True, False, False)
    """
    return bool(found_in(answer, fact))


# -- who is right


def right_book(answer: str, truth: Sequence[str]) -> bool:
    """Two of author, year and publisher are named."""
    return sum(says(answer, fact) for fact in truth) >= BOOK_FACTS


def right_movie(answer: str, truth: Sequence[str]) -> bool:
    """More than 80 % of the names in the answer are in the cast. Without a name it is right, as in InterrogateLLM."""
    cast = {plain(name) for name in truth}
    named = [plain(name) for name in names(answer)]
    return sum(name in cast for name in named) / len(named) > CAST_SHARE if named else True


def right_any(answer: str, truth: Sequence[str]) -> bool:
    """One of the facts is named."""
    return any(says(answer, fact) for fact in truth)


def names(answer: str) -> list[str]:
    """Runs of two or more capitalised words, particles and initials included.

    >>> names("The main cast included Benicio del Toro, J. K. Simmons and Mélanie Laurent.")
    ['Benicio del Toro', 'J. K. Simmons', 'Mélanie Laurent']
    """
    word = r"[^\W\d_a-zß-öø-ÿ][\w'’.-]*"
    run = rf"{word}(?:\s+(?:(?:de|del|della|di|da|van|von|der|den|la|le|bin|al)\s+)*{word})+"
    return [found.rstrip(".") for found in re.findall(run, answer)]


# -- readers

BOOK_EXAMPLES = tuple(
    (
        f"Who is the author of the book {title}, what year was it published?",
        f"The author is {author}, and it was published in {year}.",
    )
    for title, author, year in (
        ("Beloved", "Toni Morrison", 1987),
        ("The Name of the Rose", "Umberto Eco", 1980),
        ("Midnight's Children", "Salman Rushdie", 1981),
    )
)
MOVIE_EXAMPLES = tuple(
    (f"What actors played in the {year} movie {title}?", f"The main cast included {cast}.")
    for year, title, cast in (
        (1972, "The Godfather", "Marlon Brando, Al Pacino, James Caan, Robert Duvall, Diane Keaton"),
        (1994, "Pulp Fiction", "John Travolta, Samuel L. Jackson, Uma Thurman, Bruce Willis"),
        (1999, "The Matrix", "Keanu Reeves, Laurence Fishburne, Carrie-Anne Moss, Hugo Weaving"),
    )
)
COUNTRY_EXAMPLES = (
    ("What is the capital of Italy?", "The capital is Rome."),
    ("What is the capital of Kenya?", "The capital is Nairobi."),
    ("What is the capital of Peru?", "The capital is Lima."),
)


def read_books(path: Path) -> QuestionSource:
    """Books-dataset's books.csv: separated by semicolons, Latin-1."""
    columns = ("Book-Title", "Book-Author", "Year-Of-Publication", "Publisher")
    asked = [
        Asked(f"Who is the author of the book {title}, what year was it published?", (author, year, publisher))
        for title, author, year, publisher in rows_of(path, columns)
        if title and author and year not in ("", "0")
    ]
    return QuestionSource(asked, BOOK_EXAMPLES, right_book)


def read_movies(path: Path) -> QuestionSource:
    """The-movies-dataset: movies_metadata.csv, with credits.csv in the same folder; movies with one row in each."""
    credits = path.parent / "credits.csv"
    if not credits.is_file():
        raise ValueError(f"{path} needs the file credits.csv of the same dataset beside it, which holds the casts.")
    casts: dict[str, list[str]] = {}
    for movie, cast in rows_of(credits, ("id", "cast")):
        try:
            people = ast.literal_eval(cast)  # the file writes Python lists
        except (ValueError, SyntaxError):
            continue
        casts[movie] = [str(person["name"]) for person in people if isinstance(person, dict) and "name" in person]
    found: dict[str, list[tuple[str, str]]] = {}
    for movie, title, released in rows_of(path, ("id", "title", "release_date")):
        found.setdefault(movie, []).append((title, released))
    asked = [
        Asked(f"What actors played in the {rows[0][1][:4]} movie {rows[0][0]}?", tuple(casts[movie]))
        for movie, rows in found.items()
        if len(rows) == 1 and casts.get(movie) and rows[0][0] and re.match(r"\d{4}", rows[0][1])
    ]
    return QuestionSource(asked, MOVIE_EXAMPLES, right_movie)


def read_countries(path: Path) -> QuestionSource:
    """World-data-2023.csv; rows that the file itself garbles are left out, several capitals are all right."""
    asked = [
        Asked(f"What is the capital of {country}?", tuple(name.strip() for name in capital.split(",")))
        for country, capital in rows_of(path, ("Country", "Capital/Major City"))
        if country and capital and "\ufffd" not in country + capital
    ]
    return QuestionSource(asked, COUNTRY_EXAMPLES, right_any)


def rows_of(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """The named columns of a CSV file, stripped, HTML's entities (``&amp;``) as what they mean.

    The separator is found in the first line.

    Raises:
        ValueError: no such file, or a column is missing.
    """
    if not path.is_file():
        raise ValueError(f"There is no file {str(path)!r}; download the dataset and give the path of its CSV file.")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        text = path.read_text(encoding="latin-1")
    first = text.split("\n", 1)[0]
    reader = csv.reader(text.splitlines(keepends=True), delimiter=";" if first.count(";") > first.count(",") else ",")
    csv.field_size_limit(10_000_000)
    head = [name.strip().strip('"\ufeff') for name in next(reader, [])]
    missing = [name for name in columns if name not in head]
    if missing:
        raise ValueError(f"{path} has no column {missing[0]!r}; it has {', '.join(head[:12]) or 'none'}.")
    places = [head.index(name) for name in columns]
    for row in reader:
        if len(row) == len(head):
            yield tuple(html.unescape(row[place]).strip() for place in places)


def read_questions(
    name: str, split: str = "train", config: str | None = None, group_column: str | None = None
) -> QuestionSource:
    """Rows with a question and one gold answer or a list of them; a right answer is one of them, as the accuracy reward
    judges it (`trl_r1.rewards.accuracy.verdict`), with the row's ``answer_type`` where it declares one.

    Args:
        group_column: what the questions are grouped by; None takes ``group``, where there is one.
    """
    from trl_r1.data.columns import load_rows, require_columns
    from trl_r1.data.goldcheck import GOLD_COLUMNS, PROMPT_COLUMNS, find_column

    rows = load_rows(name, split, config)
    question = find_column(rows.column_names, None, PROMPT_COLUMNS, "question")
    gold = find_column(rows.column_names, None, GOLD_COLUMNS, "gold answer")

    def facts(value: Any) -> tuple[str, ...]:
        return tuple(map(str, value)) if isinstance(value, list) else (str(value),)

    require_columns(rows, {"group": group_column}, name)
    grouped = group_column or ("group" if "group" in rows.column_names else None)
    groups = ["all" if grouped is None else str(value) for value in (rows[grouped] if grouped else [None] * len(rows))]
    asked = [
        Asked(str(row[question]), facts(row[gold]), group, declared_type(row))
        for row, group in zip(rows, groups, strict=True)
    ]
    return Judged(asked, (), right_any, cut=False)


def read_facts() -> QuestionSource:
    """The real facts of ``facts.jsonl`` beside this file, written for this project: capitals, elements, authors, years and
    common knowledge; a right answer names an accepted form."""
    lines = (Path(__file__).parent / "facts.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    asked = [Asked(row["question"], tuple(row["solution"]), row["group"]) for row in rows]
    return QuestionSource(asked, (), right_any, cut=False)


def read_miniature(seed: int) -> QuestionSource:
    """The books of the world trained here."""
    from trl_r1.mini import books as miniature

    asked = [Asked(row["question"], tuple(row["truth"]), row["kind"]) for row in miniature.rows(seed)]
    return QuestionSource(
        asked, (), lambda answer, truth: miniature.is_right(answer, (truth[0], truth[1], truth[2])), cut=False
    )


READERS: dict[str, Callable[[Path], QuestionSource]] = {
    "books": read_books,
    "movies": read_movies,
    "countries": read_countries,
}


def read(
    data: str,
    reader: str | None = None,
    split: str = "train",
    seed: int = 0,
    config: str | None = None,
    group_column: str | None = None,
) -> QuestionSource:
    """Questions by name.

    Raises:
        ValueError: an unknown reader, or nothing readable there.
    """
    from trl_r1.mini.books import is_miniature

    if is_miniature(data):
        return read_miniature(seed)
    if data == FACTS:
        return read_facts()
    if reader is None or reader == "questions":
        return read_questions(data, split, config, group_column)
    if reader not in READERS:
        raise ValueError(f"There is no reader {reader!r}. Choose one of: {', '.join(READERS)}, questions.")
    source = READERS[reader](Path(data).expanduser())
    if not source.asked:
        raise ValueError(f"{data} holds no row that the reader {reader!r} can ask about.")
    return source
