"""Templates: a question in, a prompt out: text for a base model to continue, or messages for a chat template.

The reply is expected as ``<think>reasoning</think> <answer>answer</answer>``; ``r1_zero`` and ``chat_think`` say so
in the prompt, ``mini`` and ``chat`` leave it to the model's habits and the format reward.

A template of messages may end with an assistant's: that is the opening of the reply (a prefill), which the model goes on
from, as in ``[{"role": "user", "content": "{question}"}, {"role": "assistant", "content": "<think>"}]``.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from trl_r1.errors import did_you_mean
from trl_r1.text.records import Messages


Template = str | Messages

PLACEHOLDER = "{question}"
ROLES = ("system", "developer", "user", "assistant")
OPENING = ("content", "reasoning_content", "thinking")  # keys of an assistant's message that may open the reply

# The structure of DeepSeek-R1's Table 1 (arXiv:2501.12948, Sec. 2.2.1), in our own words: who speaks, that thinking
# comes before answering, the two pairs of tags, the question, and an open turn for a base model to continue.
R1_ZERO = (
    "Below, a User puts a question to an Assistant. Before it replies, the Assistant works the problem out for "
    "itself, and only then tells the User its result. Its thinking stands between <think> and </think>, its result "
    "between <answer> and </answer>, like this: <think> the way there </think> <answer> the result </answer>.\n"
    "User: {question}\n"
    "Assistant:"
)

TEMPLATES: dict[str, Template] = {
    "r1_zero": R1_ZERO,  # base models: instruction, question, open turn
    "mini": "User: {question} Assistant:",  # the miniature world: short, because the model is small
    "plain": "User: {question}\n\nAssistant:\n",  # asks for no tags; ends where a token ends, whatever the reply begins with
    "chat": [{"role": "user", "content": "{question}"}],  # models with a chat template; the question alone
    "chat_think": [  # the same, asking for the tags; in the user's turn, as some chat templates take no system turn
        {
            "role": "user",
            "content": "{question}\n\nThink first, inside <think> </think>. "
            "Then give only the final result, inside <answer> </answer>.",
        }
    ],
}


def find_template(template: Template) -> Template:
    """A template by its name in TEMPLATES, or the caller's own (text, messages, or messages as JSON), checked for
    ``{question}``.

    Raises:
        ValueError: it is no known name and holds no ``{question}``, or its messages are none.
    """
    if isinstance(template, str) and template in TEMPLATES:
        return TEMPLATES[template]
    template = written_messages(template) if isinstance(template, str) else template
    if template and not isinstance(template, str):
        check_messages(template)
    parts = [template] if isinstance(template, str) else [message.get("content") for message in template]
    if any(isinstance(part, str) and PLACEHOLDER in part for part in parts):
        return template
    near = did_you_mean(template, TEMPLATES) if isinstance(template, str) else ""
    raise ValueError(
        f"template={shorten(template)!r} is neither the name of a template nor a text with {PLACEHOLDER} in it.{near}"
        f" Choose one of: {', '.join(TEMPLATES)}; or write your own, such as 'Question: {PLACEHOLDER} Answer:'."
    )


def written_messages(text: str) -> Template:
    """Messages that stand in a text as JSON, as a command line brings them; any other text as it is.

    >>> written_messages('[{"role": "user", "content": "{question}"}]'), written_messages("[INST] {question} [/INST]")
    ([{'role': 'user', 'content': '{question}'}], '[INST] {question} [/INST]')
    """
    if not text.lstrip().startswith("["):
        return text
    try:
        read = json.loads(text)
    except json.JSONDecodeError:
        return text
    return read if isinstance(read, list) else text


def check_messages(messages: Any) -> None:
    """Whether a template of messages can be rendered.

    Raises:
        ValueError: which message is wrong, and what is expected.
    """
    if not isinstance(messages, Sequence):
        raise ValueError(f"template={messages!r} is neither text nor a list of messages with role and content.")
    for number, message in enumerate(messages):
        role = message.get("role") if isinstance(message, dict) else None
        keys = OPENING if role == "assistant" else OPENING[:1]
        texts = [message.get(key) for key in keys] if isinstance(message, dict) else []
        if role not in ROLES or not any(isinstance(text, str) and text for text in texts):
            raise ValueError(
                f"template: message {number} (counted from 0) is {shorten(str(message))}; a message has a role "
                f"({', '.join(ROLES)}) and a content, a text that is not empty."
            )
    if messages[-1]["role"] not in ("user", "assistant"):
        raise ValueError(
            f"template: the last message is the {messages[-1]['role']}'s; it is the user's, or an assistant's that opens "
            "the reply."
        )


def with_system(prompt: Template, system_prompt: str | None) -> Template:
    """The prompt with a system message in front; one that begins with its own keeps it.

    >>> with_system([{"role": "user", "content": "2+2?"}], "Be brief.")[0]
    {'role': 'system', 'content': 'Be brief.'}

    Raises:
        ValueError: the prompt is text, which has no place for it.
    """
    if not system_prompt:
        return prompt
    if isinstance(prompt, str):
        raise ValueError(
            f"system_prompt={shorten(system_prompt)!r} goes before conversations, and the prompts are text: write it into "
            "the text of the template, or take a template of messages such as chat."
        )
    if prompt and prompt[0].get("role") in ("system", "developer"):
        return prompt
    return [{"role": "system", "content": system_prompt}, *prompt]


def check_template_options(template_options: Mapping[str, Any] | None, prompts: Iterable[Template]) -> None:
    """Whether there is a conversation for which the template could read its options.

    Raises:
        ValueError: there are options, and all prompts are text.
    """
    if template_options and all(isinstance(prompt, str) for prompt in prompts):
        raise ValueError(
            f"chat_template_kwargs={dict(template_options)} are for the model's chat template, and all prompts are text, "
            "which it never sees: take a template of messages such as chat, or drop chat_template_kwargs."
        )


def template_for(given: Template | None, tokenizer: Any = None) -> Template:
    """The template that was asked for; without one, the same rule everywhere: a model with a chat template is asked in its
    own (``chat``), any other in ``r1_zero``.

    Args:
        tokenizer: the model's; None is a server, which has a chat template.

    Raises:
        ValueError: as ``find_template``.
    """
    if given is not None:
        return find_template(given)
    return TEMPLATES["chat" if tokenizer is None or getattr(tokenizer, "chat_template", None) else "r1_zero"]


def shorten(template: Template) -> str:
    """A template as an error message quotes it: one line, at most 80 characters."""
    text = " ".join(str(template).split())
    return text if len(text) <= 80 else text[:77] + "..."


def render(template: Template, question: str) -> Template:
    """Put the question in. Braces in the question, ``{question}`` included, stay as they are.

    >>> render("Q: {question} A:", "What is {x} if {question}?")
    'Q: What is {x} if {question}? A:'
    """
    if isinstance(template, str):
        return template.replace(PLACEHOLDER, question)
    return [
        {**message, "content": message["content"].replace(PLACEHOLDER, question)}
        if isinstance(message.get("content"), str)
        else dict(message)
        for message in template
    ]
