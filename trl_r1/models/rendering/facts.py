"""What a chat template does, as found out by rendering it: the facts, their words, and the refusal."""

from __future__ import annotations

from dataclasses import dataclass, field


class UnfitTemplate(ValueError):
    """A row, a prompt or a template that cannot be trained on as generation would see it; the sentence says what to do."""


@dataclass(frozen=True)
class TemplateFacts:
    """What rendering a few probe conversations showed about a tokenizer and its template.

    ``reasoning_open`` and ``reasoning_close`` are what a reader looks for in a decoded completion, without white space
    around them. They are ``<think>`` and ``</think>`` by convention where nothing shows that the model has marks of its own
    (``marks_from == "convention"``).
    """

    reasoning_open: str | None = "<think>"
    reasoning_close: str | None = "</think>"
    marks_from: str = "convention"  # "option", "key", "prompt", "empty thought", "schema", "tool call", "convention"
    marks_are_special: bool = False  # a plain decode with skip_special_tokens=True loses them
    prompt_opens_reasoning: bool = False
    prompt_closes_reasoning: bool = False
    answer_open: str = ""  # what a reply writes before its answer (channels): "<|channel|>final<|message|>"
    reasoning_to_answer: str = "</think>"  # the closing mark, and what opens the answer behind it
    end_ids: tuple[int, ...] = ()  # the token that ends an assistant's turn
    end_text: str = ""  # the same as text
    end_is_rendered: bool = True  # the template ends the last turn by itself
    stops_generation: bool = False  # generation ends at the end token
    content_reasoning: str = (
        "kept"  # "kept", "moved", "left in the answer", "doubled", "dropped", "refused": <think> tags
    )
    reasoning_key: str | None = (
        None  # "reasoning_content", "thinking", "parts": where the template takes a thought from
    )
    earlier_turns: str = "kept"  # "kept", "dropped", "refused": the thought of an earlier turn
    default_system: str = ""  # text that the template adds where the conversation has no system message
    has_date: bool = False  # the prompt depends on a date
    has_todays_date: bool = False  # ... and asks the clock for it, so that it changes at midnight
    prompt_end: str = ""  # what follows the user's text in a prompt
    thinking_switch: dict[str, object] = field(default_factory=dict)  # chat_template_kwargs that let the model think
    unfit: str = ""  # why no conversation can be trained on; "" where one can

    def table(self) -> list[tuple[str, str]]:
        """(what, finding) pairs in words, for `data preview` and `doctor`."""
        special = "special tokens, kept when decoded" if self.marks_are_special else "plain text"
        whence = {
            "option": "as told",
            "key": "as the template writes a thought",
            "prompt": "as the prompt opens one",
            "empty thought": "as the template writes an empty thought",
            "schema": "as the response schema says",
            "tool call": "as the template writes a thought before a tool call",
            "convention": "by convention: the template has none of its own",
        }[self.marks_from]
        prompt = (
            "opens the thought"
            if self.prompt_opens_reasoning
            else "closes the thought"
            if self.prompt_closes_reasoning
            else "leaves the thought to the model"
        )
        end = repr(self.end_text) if self.end_ids else "none"
        stop = "generation stops at it" if self.stops_generation else "generation does NOT stop at it"
        key = f"taken from {self.reasoning_key}" if self.reasoning_key else "not known to the template"
        pairs = [
            ("marks of a thought", f"{self.reasoning_open} {self.reasoning_close} ({special}; {whence})"),
            ("the prompt", f"{prompt}; it ends with {self.prompt_end!r}"),
            (
                "end of a turn",
                f"{end}; {stop}" + ("" if self.end_is_rendered else "; the template leaves the last turn open"),
            ),
            ("<think> in the content", self.content_reasoning),
            ("a thought under a key", key),
            ("thoughts of earlier turns", self.earlier_turns),
            ("before the answer", repr(self.answer_open) if self.answer_open else "nothing"),
            ("default system text", repr(self.default_system) if self.default_system else "none"),
            (
                "date",
                "today's, by the clock" if self.has_todays_date else "by date_string" if self.has_date else "none",
            ),
        ]
        if self.thinking_switch:
            switch = ", ".join(f"{name}: {value}" for name, value in self.thinking_switch.items())
            pairs.append(("to let it think", f"chat_template_kwargs: {{{switch}}}"))
        if self.unfit:
            pairs.append(("training on conversations", f"refused: {self.unfit}"))
        return pairs

    def words(self) -> str:
        """The table as lines of text."""
        return "\n".join(f"{what}: {finding}" for what, finding in self.table())
