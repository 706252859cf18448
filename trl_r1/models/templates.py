"""Templates: a question in, a prompt out: text for a base model to continue, or messages for a chat template.

The reply is expected as ``<think>reasoning</think> <answer>answer</answer>``; ``r1_zero`` and ``chat_think`` say so
in the prompt, ``mini`` and ``chat`` leave it to the model's habits and the format reward.
"""

from trl_r1.errors import did_you_mean
from trl_r1.text.records import Messages


Template = str | Messages

PLACEHOLDER = "{question}"

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
    """A template by its name in TEMPLATES, or the caller's own (text or messages), checked for ``{question}``.

    Raises:
        ValueError: it is no known name and holds no ``{question}``.
    """
    if isinstance(template, str) and template in TEMPLATES:
        return TEMPLATES[template]
    parts = [template] if isinstance(template, str) else [message.get("content") for message in template]
    if any(isinstance(part, str) and PLACEHOLDER in part for part in parts):
        return template
    near = did_you_mean(template, TEMPLATES) if isinstance(template, str) else ""
    raise ValueError(
        f"template={shorten(template)!r} is neither the name of a template nor a text with {PLACEHOLDER} in it.{near}"
        f" Choose one of: {', '.join(TEMPLATES)}; or write your own, such as 'Question: {PLACEHOLDER} Answer:'."
    )


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
