"""Language consistency: what share of the words of a thought is in the target language?

Source: DeepSeek-R1, arXiv:2501.12948, Sec. 2.3.2, Eq. 7: ``Num(Words_target) / Num(Words)``, on the chain of thought.

What is a word is decided by script (``trl_r1.text.words``). Whose word it is, too, unless ``same_script`` asks a
classifier (``trl_r1.rewards.identification``):

    ignore       every word of the target's script is the target's: to the target French, English words are French
    classifier   languages of one script are told apart, by an offline classifier (extra ``lang``)

Departures: the paper does not say how words are told apart. Sentences in another script that stand in formulas, code or
hidden text count as words, sentences of the target there do not.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from trl_r1.rewards.identification import identify, in_target, require_classifier, shared_scripts
from trl_r1.storage.structured import option
from trl_r1.text.completions import reasoning_bounds, reply
from trl_r1.text.reasoning_format import PREFILLED_HELP, THINK_HELP, ReadsReasoning, checked_tags
from trl_r1.text.scripts import FIRST, LANGUAGES, SCRIPTS, language_code
from trl_r1.text.words import FUNCTION_NAMES, RUNS, count_words, parted, prose


__all__ = [
    "LANGUAGES",
    "SAME_SCRIPT",
    "LanguageConsistency",
    "consistency",
    "count_words",
    "language_code",
    "language_consistency_reward",
    "prompt_language",
    "prose",
]

SAME_SCRIPT = {
    "ignore": "languages of one script are not told apart",
    "classifier": "languages of one script are told apart by an offline classifier (extra lang)",
}


def consistency(
    text: str,
    language: str,
    minimum_words: float = 1.0,
    allowed: Iterable[str] = (),
    same_script: str = "ignore",
) -> float | None:
    """``Num(Words_target) / Num(Words)`` of a thought, in [0, 1]; None below ``minimum_words``.

    Args:
        text: the thought alone (``trl_r1.text.completions.reasoning_of``).
        language: target, a code such as "en", "zh", "zh-CN", or a name.
        minimum_words: words of any script that it takes to judge. The default, 1, measures the shortest chain (two Han
            characters or one English word); the reward, which pays for it, asks for more.
        allowed: terms that count for no language.
        same_script: one of ``SAME_SCRIPT``.

    Raises:
        ValueError: the language is unknown, here or to the classifier.
        ImportError: "classifier" without the extra ``lang``.

    Source: DeepSeek-R1, arXiv:2501.12948, Eq. 7. Departures: see the module's first lines.

    >>> consistency("first add 3 and 4, 然后乘以二", "en")  # 3 words, 5 Han characters: 3 / (3 + 5 / 1.6)
    0.4897959183673469
    """
    code = language_code(language)
    clean, aside = parted(text, allowed)
    foreign = _foreign(aside, code)
    if foreign:
        return _share(clean, count_words(clean), code, minimum_words, same_script, foreign)
    if same_script == "classifier" and clean.isascii() and "latin" in shared_scripts(code):  # counted once, not twice
        ours = in_target(clean, code, "latin")
        return ours.count(True) / len(ours) if len(ours) >= max(1.0, minimum_words) else None
    return _share(clean, count_words(clean), code, minimum_words, same_script)


def _foreign(aside: str, code: str) -> float:
    """Foreign words among those said aside (``words.parted``), in hidden text, formulas and code. They count, and words
    of the target there do not: what is set aside can make nothing better, but a thought can be hidden there."""
    words = count_words(aside) if aside else {}
    return sum(number for script, number in words.items() if script not in LANGUAGES[code])


def _share(
    clean: str, words: dict[str, float], code: str, minimum_words: float, same_script: str, foreign: float = 0.0
) -> float | None:
    total = sum(words.values()) + foreign
    if total <= 0 or total < minimum_words:
        return None
    scripts = _scripts(words, code)
    ours = sum(number for script, number in words.items() if script in scripts)
    if same_script == "classifier":
        for script in shared_scripts(code) & words.keys():
            ours -= in_target(clean, code, script).count(False)
    return ours / total


def _scripts(words: dict[str, float], code: str) -> frozenset[str]:
    scripts = LANGUAGES[code]
    if "kana" in scripts and words.get("kana", 0.0) == 0.0:
        return scripts - {"han"}  # Han without any kana is Chinese, not Japanese
    return scripts


def prompt_language(prompt: Any, same_script: str = "ignore") -> str | None:
    """The language of a prompt: of its most frequent script the best-known language, or the one the classifier names.

    Args:
        prompt: text or messages (the last user message counts). In a text with turns ("User: ... Assistant:", as in
            the R1-Zero template) the last user turn counts, so an English template does not hide a Chinese question.
        same_script: one of ``SAME_SCRIPT``.

    Returns:
        A code of ``LANGUAGES``; "en" for Latin script unless there is a classifier; None for a prompt without words.
    """
    if isinstance(prompt, str):
        text = prompt
        if "User:" in text:
            text = text.rpartition("User:")[2].partition("Assistant:")[0]
    else:
        users = [m for m in prompt or () if isinstance(m, dict) and m.get("role", "user") == "user"]
        text = reply([{**users[-1], "role": "assistant"}]) if users else ""
    clean = prose(text)
    words = count_words(clean)
    if not words:
        return None
    if words.get("kana"):
        words["kana"] += words.pop("han", 0.0)
    script = max(words, key=lambda script: words[script])
    code = FIRST[script]
    return identify(clean, script) if same_script == "classifier" and script in shared_scripts(code) else code


@lru_cache(maxsize=64)
def _tell(name: str, code: str) -> None:
    """One sentence, once per target, when languages that the target shares its script with count as the target."""
    first = sorted({FIRST[script] for script in shared_scripts(code)} - {code})
    if first:
        warnings.warn(
            f"{name}: the target {code!r} shares its script with {' and '.join(map(repr, first))}, whose words count "
            'as the target\'s. same_script="classifier" tells them apart: pip install "trl-r1[lang]"',
            stacklevel=4,
        )


@dataclass(frozen=True)
class LanguageConsistency(ReadsReasoning):
    """Share of the thought's words that are in the target language, in [0, 1]; None below ``minimum_words``.

    The target is, in this order: the row's ``language_column``, the option ``language``, the prompt's own language.
    A reply without a thought, or with one of a word or two, has too few words to judge and scores None (as no reward,
    0, in TRL's sum), so that thinking less is no way to full marks. Set ``minimum_words`` to 1 for chains that are made
    of symbols, and to 10 or more where thoughts are long.

    Source: DeepSeek-R1, arXiv:2501.12948, Sec. 2.3.2. Departures: see the module; the paper names no minimum.

    Raises:
        ImportError: same_script="classifier" without the extra ``lang``.
    """

    language: str | None = option(None, "Target for rows that name none, such as 'en'.")
    language_column: str = option("language", "Dataset column with the row's target.")
    minimum_words: float = option(3.0, "Words it takes to judge a thought.")
    allowed: tuple[str, ...] = option((), "Terms that count for no language.")
    same_script: str = option("ignore", "; ".join(f"{name}: {about}" for name, about in SAME_SCRIPT.items()))
    prefilled_think: bool | None = option(None, PREFILLED_HELP)
    think: tuple[str, str] | None = option(None, THINK_HELP)
    name: str = option("language_consistency", "Logged as rewards/<name>/mean.")

    def __post_init__(self) -> None:
        if self.minimum_words < 0:
            raise ValueError(
                f"minimum_words={self.minimum_words} is negative. Give a number of words, for instance 10."
            )
        if isinstance(self.allowed, str):
            raise ValueError(f"allowed={self.allowed!r} is one text. Give a list of terms.")
        if self.same_script not in SAME_SCRIPT:
            raise ValueError(f"same_script={self.same_script!r} is unknown. Choose one of: {', '.join(SAME_SCRIPT)}.")
        code = None if self.language is None else language_code(self.language)
        if self.same_script == "classifier":
            require_classifier(code)
        object.__setattr__(self, "allowed", tuple(self.allowed))
        object.__setattr__(self, "think", checked_tags(self.think))

    def score(self, completion: Any, language: str | None = None, prompt: Any = None) -> float | None:
        """The score of one completion. ``language`` overrides the option.

        Raises:
            ValueError: no language is given, or it is unknown.
        """
        start, end, _ = reasoning_bounds(text := reply(completion), *self.reading(completion, prompt))
        return consistency(text[start:end], self._target(language), self.minimum_words, self.allowed, self.same_script)

    def spans(self, completion: Any, language: str | None = None, prompt: Any = None) -> list[tuple[int, int, float]]:
        """``(start, end, score)`` for every run of words of one side in the thought, as characters of
        ``reply(completion)``. Target runs share the score by their words, others have 0.0; they sum to the score."""
        start, end, _ = reasoning_bounds(text := reply(completion), *self.reading(completion, prompt))
        clean, aside = parted(text[start:end], self.allowed)
        words, code = count_words(clean), self._target(language)
        score = _share(clean, words, code, self.minimum_words, self.same_script, _foreign(aside, code))
        if score is None:
            return []
        scripts = _scripts(words, code)
        shared = shared_scripts(code) & words.keys() if self.same_script == "classifier" else frozenset()
        verdicts = {script: iter(in_target(clean, code, script)) for script in shared}
        runs = []
        for script in words.keys() | ({"han"} if "kana" in words else set()):
            for match in RUNS[script].finditer(clean):
                if script == "latin" and match.group() in FUNCTION_NAMES:
                    continue
                ours = next(verdicts[script]) if script in verdicts else script in scripts
                runs.append((match.start(), match.end(), ours, SCRIPTS[script][1]))
        merged: list[list[Any]] = []  # [start, end, in the target, words]
        for first, last, ours, per_word in sorted(runs, key=lambda run: run[:2]):
            number = (last - first) / per_word if per_word else 1.0
            if merged and merged[-1][2] == ours:
                merged[-1][1], merged[-1][3] = last, merged[-1][3] + number
            else:
                merged.append([first, last, ours, number])
        in_all = sum(number for _, _, ours, number in merged if ours)
        return [
            (start + first, start + last, score * number / in_all if ours else 0.0)
            for first, last, ours, number in merged
        ]

    def __call__(
        self,
        completions: list[Any],
        prompts: Sequence[Any] | None = None,
        log_extra: Callable[[str, list[Any]], None] | None = None,
        log_metric: Callable[[str, float], None] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        named: Sequence[Any] = columns.get(self.language_column) or [None] * len(completions)
        targets: list[str | None] = []
        for row in range(len(completions)):
            target = (None if named[row] != named[row] else named[row]) or self.language  # a table's NaN names none
            if not target and prompts is None:
                raise ValueError(
                    f"{self.name} does not know the target language: the rows have no column "
                    f"{self.language_column!r}, the option language is not set, and no prompts were given."
                )
            targets.append(target or prompt_language(prompts[row], self.same_script))  # type: ignore[index]
        if self.same_script == "ignore":
            for target in dict.fromkeys(target for target in targets if target is not None):
                _tell(self.name, language_code(target))
        scores = [
            None if target is None else self.score(completion, target, prompt)
            for completion, target, prompt in zip(completions, targets, prompts or [None] * len(targets), strict=True)
        ]
        if log_extra is not None:
            log_extra(f"{self.name}_target", targets)
        if log_metric is not None:
            log_metric(f"{self.name}/judged", sum(score is not None for score in scores) / max(1, len(scores)))
        return scores

    def _target(self, language: str | None) -> str:
        chosen = language or self.language
        if not chosen:
            raise ValueError("No target language. Pass language=, for instance 'en', or set the option language.")
        return language_code(chosen)


language_consistency_reward = LanguageConsistency()
