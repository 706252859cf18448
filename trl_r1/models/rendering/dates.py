"""Dates in chat templates: a template whose ``strftime_now`` always answers with one given day."""

from __future__ import annotations

import re
from datetime import date


LITERAL = re.compile(r"""(["'])((?:(?!\1)[^\\\n])*%(?:(?!\1)[^\\\n])*)\1""")  # a quoted text with a percent sign in it
DATE_STRING = "%d %b %Y"  # how Llama's templates write ``date_string``


def asks_for_today(chat_template: str) -> bool:
    """Whether the template calls ``strftime_now``, so that its prompts change at midnight."""
    return "strftime_now" in chat_template


def on_day(chat_template: str, day: date) -> str:
    """The template with ``strftime_now`` shadowed by a macro that knows one day.

    A macro, because transformers hands templates plain data only; every text with a percent sign in the template's
    source is taken for a format it may ask for. Any other format gives the ISO date.

    >>> on_day("{{ strftime_now('%d %b') }}", date(2026, 3, 1)).splitlines()[0]
    "{%- macro strftime_now(format) -%}{%- if format == '%d %b' -%}01 Mar{%- else -%}2026-03-01{%- endif -%}{%- endmacro %}"
    """
    if not asks_for_today(chat_template):
        return chat_template
    formats = dict.fromkeys(match[2] for match in LITERAL.finditer(chat_template) if "'" not in match[2])
    branches = "".join(
        f"{{%- {'elif' if number else 'if'} format == '{form}' -%}}{day.strftime(form)}"
        for number, form in enumerate(formats)
    )
    body = f"{branches}{{%- else -%}}{day.isoformat()}{{%- endif -%}}" if formats else day.isoformat()
    # The newline behind the macro is eaten by trim_blocks; the template begins at the beginning of a line, as before.
    return f"{{%- macro strftime_now(format) -%}}{body}{{%- endmacro %}}\n{chat_template}"
