r"""Cold-start data: where readable long chains come from, how a reply is taken apart, and how it is laid out again.

    few_shot     a model continues after worked examples with long chains
    reflection   a model is asked outright to think aloud, to check and to correct itself
    zero         R1-Zero answers in its own template, and what it writes is made readable
    rows         chains that exist already, a model's or a person's

Everything here computes on texts; `trl_r1.stages.cold_start.make` draws, filters and keeps.

Source      DeepSeek-R1, arXiv:2501.12948v1, Sec. 2.3.1 (the four roads and the output format
            ``|special_token|<reasoning_process>|special_token|<summary>``); v2, supplement B.3.2 (first person, the
            question's language, a summary written from the thought).
Departure   all wording is ours. The paper's summaries are written by a model; without one, a bare final answer is put
            into a box and stands as the summary; a sentence stands as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trl_r1.models.templates import Template, find_template, render, with_system
from trl_r1.rewards.format import LAYOUTS, SPECIAL_TOKEN, well_formed
from trl_r1.rewards.semantic import spoken
from trl_r1.storage.structured import option, read_entries, refuse_twins
from trl_r1.text.completions import ANSWER, THINK, after_reasoning, completed, reasoning_of, visible
from trl_r1.text.records import Messages, Problem


SOURCES: dict[str, str] = {
    "few_shot": "a model continues after worked examples with long chains",
    "reflection": "a model is asked to think aloud, to check and to correct itself",
    "zero": "R1-Zero's own outputs, in its template, made readable",
    "rows": "chains that exist already",
}


@dataclass(frozen=True)
class ChainSource:
    """One road to chains. Fields left at None take the stage's own options."""

    name: str = option(help="The road.", choices=SOURCES, like="zero")
    label: str = option("", "What it is called in files and counts; default: its name.")
    model: str | None = option(None, "Model to sample; default source_model.")
    endpoint: str | None = option(None, "Server to sample from; default source_endpoint.")
    samples: int | None = option(None, "Samples per problem.", ge=1)
    temperature: float | None = option(None, "Sampling temperature.")
    max_new_tokens: int | None = option(None, "Longest reply, in tokens.")
    template: Template | None = option(None, "zero: prompt template; default `template`.")
    prefilled_think: bool | None = option(None, "That the prompt opens the thought; default: as it is found out.")
    system_prompt: str | None = option(None, "Before conversations; zero: default system_prompt.")
    chat_template_kwargs: Mapping[str, Any] | None = option(None, "For the chat template; default: the stage's.")
    chat: bool = option(True, "few_shot, reflection: ask as a conversation, if it can chat.")
    examples: str | None = option(None, "few_shot: JSONL of question, reasoning, summary.")
    dataset_name: str | None = option(None, "rows: as dataset_name of the stage.")
    dataset_split: str = option("train", "rows: its split.")
    dataset_config: str | Mapping[str, Any] | None = option(None, "rows: its configuration.")
    question_column: str = option("question", "rows: column with the question.")
    solution_column: str = option("solution", "rows: column with the gold answer.")
    language_column: str | None = option(None, "rows: column with the language code.")
    completion_column: str = option("completion", "rows: column with thought and answer.")
    reasoning_column: str | None = option(None, "rows: column with the thought alone.")
    summary_column: str | None = option(None, "rows: column with what follows it.")

    def __post_init__(self) -> None:
        if self.name == "rows" and not self.dataset_name:
            raise ValueError("rows needs a dataset_name, the file or dataset with the existing chains.")
        if (self.reasoning_column is None) != (self.summary_column is None):
            raise ValueError("reasoning_column and summary_column go together; give both or neither.")
        object.__setattr__(self, "label", self.label or self.name)


def read_sources(value: Any) -> list[ChainSource]:
    """The `sources` of a recipe: a list of mappings with a `name`, or of names.

    Raises:
        ValueError: it is no such list, an entry has a mistake, or two have one label.
    """
    sources = read_entries("sources", value, ChainSource)
    refuse_twins("sources", (source.label for source in sources), "label")
    return sources


# --- prompts


@dataclass(frozen=True)
class Example:
    """A worked problem, as few-shot prompting shows it."""

    question: str
    reasoning: str
    summary: str


OPEN = f"{THINK[0]}\n"  # a prompt for a base model opens the thought itself
WORDS = {
    "en": {
        "task": "Solve the problem in two parts. First think aloud between <think> and </think>: say in your own words "
        "what is asked, work in small steps, check the result in a second way, and where a step was wrong, say so and "
        "mend it. Write as yourself, in the first person, in short paragraphs of plain English. After </think> explain "
        "the way briefly to a reader who has not seen your thoughts, and end with the result in \\boxed{}.",
        "problem": "Problem:",
    },
    "zh": {
        "task": "请分两部分解题。先在 <think> 和 </think> 之间自言自语地思考:用自己的话说清题目要什么,一小步一小步地算,"
        "再换一种方法检查结果,发现错了就说明并改正。用第一人称,分成短段落,全部用中文。"
        "然后在 </think> 之后,向没有看过思考过程的读者简要说明解法,最后把结果写在 \\boxed{} 里。",
        "problem": "题目:",
    },
}
EXAMPLES: dict[str, tuple[Example, ...]] = {
    "en": (
        Example(
            "A ribbon of 3 m is cut into pieces of 35 cm. How many whole pieces are there, and how much is left over?",
            "I have 3 m of ribbon, which is 300 cm, and each piece takes 35 cm. I want the number of whole pieces and the "
            "rest.\n\nI try 8 pieces: 8 times 35 is 280. One more would be 315, which is too long. So 8 pieces.\n\n"
            "What is left is 300 - 280 = 20 cm.\n\nLet me check the other way round: 280 and 20 make 300, and 20 is less "
            "than 35, so no further piece fits. Good.",
            "3 m are 300 cm. Since 8 · 35 = 280 and 9 · 35 = 315 > 300, there are 8 whole pieces and 300 - 280 = 20 cm are "
            "left over. The result is \\boxed{8 \\text{ pieces, } 20 \\text{ cm}}.",
        ),
        Example(
            "For which number x is 4x - 7 equal to x + 11?",
            "I am looking for x with 4x - 7 = x + 11.\n\nI take x away on both sides: 3x - 7 = 11. Now I take 7 away: "
            "3x = 4.\n\nWait, that is wrong: to get rid of the minus 7 I have to add 7, not take it away. So 3x = 18, and "
            "x = 6.\n\nI put it in: 4 times 6 minus 7 is 17, and 6 plus 11 is 17. Both sides agree.",
            "Subtracting x and adding 7 on both sides gives 3x = 18, so x = 6; both sides are then 17. The result is "
            "\\boxed{6}.",
        ),
    ),
    "zh": (
        Example(
            "一根 3 米长的丝带剪成每段 35 厘米,能剪多少整段,还剩多少?",
            "我有 3 米丝带,也就是 300 厘米,每段要 35 厘米。要求的是整段数和剩下的长度。\n\n我先试 8 段:8 乘 35 是 280。"
            "再多一段就是 315,太长了。所以是 8 段。\n\n剩下 300 - 280 = 20 厘米。\n\n反过来检查一下:280 加 20 正好是 300,"
            "而 20 小于 35,不能再剪一段。没问题。",
            "3 米等于 300 厘米。因为 8 · 35 = 280,而 9 · 35 = 315 > 300,所以能剪 8 整段,还剩 300 - 280 = 20 厘米。"
            "结果是 \\boxed{8 \\text{ 段,} 20 \\text{ 厘米}}。",
        ),
        Example(
            "x 是多少时,4x - 7 等于 x + 11?",
            "我要找满足 4x - 7 = x + 11 的 x。\n\n两边减去 x:3x - 7 = 11。再减去 7:3x = 4。\n\n等等,这里错了:要去掉减 7,"
            "应该加上 7,而不是减去。所以 3x = 18,x = 6。\n\n代进去看看:4 乘 6 减 7 是 17,6 加 11 也是 17。两边相等。",
            "两边减去 x 再加上 7,得到 3x = 18,所以 x = 6,这时两边都是 17。结果是 \\boxed{6}。",
        ),
    ),
}


def words_of(language: str | None) -> dict[str, str]:
    """The instructions in the problem's language; in another than these two, in English with its name."""
    code = (language or "en").lower().replace("_", "-").split("-")[0]
    if code in WORDS:
        return WORDS[code]
    return {**WORDS["en"], "task": WORDS["en"]["task"].replace("plain English", f"plain language ({language})")}


def worked(example: Example) -> str:
    """An example as a reply.

    >>> worked(Example("1 + 1?", "one and one", "2"))
    '<think>\\none and one\\n</think>\\n\\n2'
    """
    return lay_out(example.reasoning, example.summary, "summary")


@dataclass(frozen=True)
class AskedInTurns(Problem):
    """A problem whose question is a conversation; ``question`` is the same as text."""

    turns: Messages = field(default_factory=list)


def conversation(question: str | Messages) -> str:
    """A question as text: of a conversation its only message, or its turns by their roles; a system message is none.

    >>> conversation([{"role": "user", "content": "2+2?"}])
    '2+2?'
    """
    if isinstance(question, str):
        return question
    turns = [message for message in question if message.get("role") not in ("system", "developer")]
    if len(turns) == 1:
        return spoken(turns[0])
    return "\n".join(f"{str(turn.get('role', 'user')).capitalize()}: {spoken(turn)}" for turn in turns)


def put_to_chat(task: str, question: str | Messages) -> Messages:
    """A question as the last turns of a conversation, the task in front of its last message."""
    if isinstance(question, str):
        return [{"role": "user", "content": f"{task} {question}"}]
    *earlier, last = question
    return [*earlier, {"role": "user", "content": f"{task} {spoken(last)}"}]


def asking(
    source: ChainSource,
    question: str | Messages,
    language: str | None,
    chat: bool,
    examples: Sequence[Example] = (),
    turns: bool = True,
) -> Template:
    """The prompt that a source puts to its model: a conversation, or a text that ends where the model goes on.

    Args:
        question: text; or a conversation that ends with the user's message, whose turns stay turns where the model can be
            talked to.
        chat: whether the model can be talked to; else it gets a text that opens the thought (``OPEN``).
        examples: for `few_shot`; default: ours, in the problem's language.
        turns: show them as earlier turns of the conversation; else inside of the user's message, for templates that
            leave the thoughts of earlier turns out.
    """
    words = words_of(language)
    if source.name == "zero":
        own = list(question) if not isinstance(question, str) else None
        prompt = own or render(find_template(source.template or "r1_zero"), conversation(question))
        return with_system(prompt, source.system_prompt)
    examples_text = examples_of_source(source, language, examples)
    if not chat or not turns:
        parts = [words["task"], *(f"{words['problem']} {one.question}\n{worked(one)}" for one in examples_text)]
        text = "\n\n".join([*parts, f"{words['problem']} {conversation(question)}"])
        return with_system([{"role": "user", "content": text}], source.system_prompt) if chat else f"{text}\n{OPEN}"
    messages: Messages = []
    turns_asked = put_to_chat(f"{words['task']}\n\n{words['problem']}", question)
    if turns_asked[0].get("role") in ("system", "developer"):
        messages.append(turns_asked.pop(0))
    for one in examples_text:
        messages += [
            {"role": "user", "content": f"{words['task']}\n\n{words['problem']} {one.question}"},
            {"role": "assistant", "content": worked(one)},
        ]
    return with_system([*messages, *turns_asked], source.system_prompt)


def examples_of_source(source: ChainSource, language: str | None, examples: Sequence[Example] = ()) -> list[Example]:
    """The worked examples that a source shows: the given ones, else ours in the problem's language."""
    if source.name != "few_shot":
        return []
    return list(examples or EXAMPLES.get((language or "en")[:2].lower(), EXAMPLES["en"]))


def as_reply(
    source: ChainSource, text: str, prompt: Template, language: str | None, opened: bool | None = None
) -> str:
    """What a model wrote after ``asking``, as a whole reply: with the thought that the prompt opened, without the next
    problem that a base model goes on to invent.

    Args:
        opened: whether the prompt has opened the thought, as it was found out; what the source states wins.
    """
    opened = opened if source.prefilled_think is None else source.prefilled_think
    if source.name == "zero" or not isinstance(prompt, str):
        return completed(text, opened)
    return OPEN + text.split(f"\n\n{words_of(language)['problem']}")[0].rstrip()


# --- taking a reply apart, and putting it together


def take_apart(text: str) -> tuple[str, str] | None:
    r"""The reasoning and the summary of a reply in any of the layouts; None where it is in none, strictly.

    >>> take_apart("<think>2 + 2</think> <answer>4</answer>")
    ('2 + 2', '4')
    >>> take_apart("|special_token|2 + 2|special_token|It is \\boxed{4}.")
    ('2 + 2', 'It is \\boxed{4}.')
    """
    if well_formed(text, layout="answer"):
        return reasoning_of(text).strip(), after_reasoning(text).partition(ANSWER[0])[2].rpartition(ANSWER[1])[
            0
        ].strip()
    if well_formed(text, layout="summary") and ANSWER[0] not in text:
        return reasoning_of(text).strip(), after_reasoning(text).strip()
    if well_formed(text, layout="cold_start"):
        _, reasoning, summary = text.split(SPECIAL_TOKEN)
        return reasoning.strip(), summary.strip()
    return None


def lay_out(reasoning: str, summary: str, layout: str) -> str:
    r"""Reasoning and summary in a layout.

    >>> lay_out("2 + 2", "It is \\boxed{4}.", "cold_start")
    '|special_token|2 + 2|special_token|It is \\boxed{4}.'

    Raises:
        ValueError: the layout is unknown.
    """
    if layout == "cold_start":
        return f"{SPECIAL_TOKEN}{reasoning}{SPECIAL_TOKEN}{summary}"
    if layout == "summary":
        return f"{THINK[0]}\n{reasoning}\n{THINK[1]}\n\n{summary}"
    if layout == "answer":
        return f"{THINK[0]}{reasoning}{THINK[1]} {ANSWER[0]}{summary}{ANSWER[1]}"
    raise ValueError(f"layout={layout!r} is unknown. Choose one of: {', '.join(LAYOUTS)}.")


_SAYS = re.compile(
    r"\b(?:is|are|was|were|equals?|has|have|gives?|makes?|costs?|needs?)\b|是|为|等于|得到|共有", re.IGNORECASE
)
_WORD = re.compile(r"[^\W\d_]{2,}")


def is_sentence(summary: str) -> bool:
    r"""Whether a summary says its answer in words of its own, rather than being one.

    >>> [is_sentence(text) for text in ("The sum is 122.", "答案是 6", "15", "x = 5", "8 pieces, 20 cm", "New York City")]
    [True, True, False, False, False, False]
    """
    text = summary.strip()
    words = len(_WORD.findall(re.sub(r"\\[A-Za-z]+", "", text)))
    ends = text[-1:] in tuple(".!?。！？") and (words > 1 or not text.isascii())
    return bool(words) and (ends or _SAYS.search(text) is not None)


def summarised(summary: str, layout: str) -> str:
    r"""A bare final answer as a summary: in a box, unless the layout marks answers by a tag or there is a box. A sentence
    stays as it was written.

    >>> summarised("15", "summary"), summarised("15", "answer"), summarised("The sum is 122.", "summary")
    ('\\boxed{15}', '15', 'The sum is 122.')
    """
    if layout == "answer" or "\\boxed" in summary or len(summary) > 60 or "\n" in summary or is_sentence(summary):
        return summary
    return f"\\boxed{{{summary}}}"


def in_layout(text: str, layout: str) -> str | None:
    """A reply in the wanted layout: untouched where it is in it already, else taken apart and laid out; None if neither.

    >>> in_layout(" <think>a</think> <answer>4</answer>", "answer")
    ' <think>a</think> <answer>4</answer>'
    """
    if well_formed(text, layout=layout) and not (layout == "summary" and ANSWER[0] in text):
        return text
    parts = take_apart(text)
    if parts is None:
        return None
    text_in_layout = lay_out(parts[0], summarised(parts[1], layout), layout)
    return text_in_layout if well_formed(text_in_layout, layout=layout) else None


# --- the rewrite

REWRITE = {
    "en": (
        "Below are a problem, somebody's rough working, and the result. Rewrite the working so that it is a pleasure to "
        "read, and change nothing in its substance: every step stays, also the detours and the checks, and the result "
        "stays what it is. Write in English only, in the first person, in short paragraphs, without headings, lists or "
        "code. Put the rewritten working between <think> and </think>; after it, explain the way in two or three "
        "sentences to a reader who has not seen it, and end with the result in \\boxed{}."
    ),
    "zh": (
        "下面是一道题目、某人粗略的演算和结果。请把演算改写得通顺易读,内容一点也不要改:每一步都保留,绕路和检查也保留,"
        "结果不变。只用中文,用第一人称,分成短段落,不要标题、列表或代码。改写后的演算放在 <think> 和 </think> 之间;"
        "之后用两三句话向没有看过演算的读者说明解法,最后把结果写在 \\boxed{} 里。"
    ),
}


def rewriting(question: str, reasoning: str, summary: str, language: str | None, chat: bool) -> Template:
    """The prompt for the model that makes a chain readable, in the question's language."""
    code = (language or "en").lower()[:2]
    task = REWRITE.get(code) or REWRITE["en"].replace("in English only", f"in one language only ({language})")
    text = f"{task}\n\n{words_of(language)['problem']} {question}\n\n{reasoning}\n\n{summary}"
    return [{"role": "user", "content": text}] if chat else f"{text}\n\n{OPEN}"


def rewritten(text: str, chat: bool, opened: bool | None = None) -> str | None:
    """The rewritten reply in the layout `summary`; None where the model kept to no layout.

    Args:
        opened: a conversation that was asked opened the thought.
    """
    whole = completed(text, opened) if chat else text if THINK[0] in text else OPEN + text
    parts = take_apart(whole.strip())
    return lay_out(*parts, "summary") if parts and visible(parts[0]) and visible(parts[1]) else None
