"""Markdown that is safe to show: model text that can close no block, numbers with their intervals, settings without secrets.

Model text is untrusted: it appears in fenced blocks it cannot close, never as Markdown or HTML.
"""

import html
import json
import math
import os
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

from trl_r1.evaluation.metrics import Interval


PACKAGES = ("trl-r1", "trl", "transformers", "torch", "peft", "accelerate", "datasets", "bitsandbytes", "numpy")

SECRET = re.compile(r"(hub|access|auth|api|hf|wandb)_?(token|key)$|password|secret|credential", re.IGNORECASE)

LONGEST_SAMPLE = 2000  # characters of one text in a report


def as_text(value: Any) -> str:
    """A prompt or a setting as text: a conversation line by line with its roles, anything else but text as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(part, dict) and "role" in part for part in value):
        return "\n".join(f"{message['role']}: {as_text(message.get('content'))}" for message in value)
    return json.dumps(value, ensure_ascii=False, default=str)


def visible(text: str) -> str:
    """Control, format and surrogate characters (terminal escapes, right-to-left overrides) as ``\\u001b`` escapes.

    Line feeds and tabs stay; joiners stay too, as scripts and emoji need them.
    """
    import unicodedata

    text = text.replace("\r\n", "\n")
    return "".join(
        f"\\u{ord(c):04x}"
        if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") and c not in "\n\t\u200c\u200d"
        else c
        for c in text
    )


def fenced(text: str, longest: int = LONGEST_SAMPLE) -> str:
    """A fenced block the text cannot close: its fence is longer than any backticks inside. Cut when too long."""
    text = visible(text)
    if len(text) > longest:
        text = f"{text[:longest]}\n[... {len(text) - longest} more characters]"
    longest_run = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest_run + 1)
    return f"{fence}text\n{text}\n{fence}"


def inline(text: str, longest: int = 300) -> str:
    """Text for a line or a table cell: one line, without any character Markdown or HTML would act on."""
    text = " ".join(visible(text).split())
    if len(text) > longest:
        text = text[:longest] + "..."
    text = html.escape(text, quote=False)
    return re.sub(r"([\\`*_\[\]|~#!$])", r"\\\1", text)


def with_section(report: str, heading: str, section: str, later: Sequence[str]) -> str:
    """A report with one section renewed; where it has none yet, the section stands before the first of ``later`` headings
    that the report has, else at its end.

    >>> with_section("# R\\n\\n## B\\n", "## A", "## A\\n\\nx", ("\\n## ",))
    '# R\\n\\n## A\\n\\nx\\n\\n## B\\n'
    """
    old = report.find(heading)
    if old >= 0:
        end = report.find("\n## ", old + len(heading))
        return report[:old] + section + ("\n" if end < 0 else "\n" + report[end:])
    place = next((at for mark in later if (at := report.find(mark)) >= 0), None)
    if place is None:
        return f"{report.rstrip()}\n\n{section}\n"
    return f"{report[: place + 1]}{section}\n\n{report[place + 1 :]}"


def plainly(value: Any) -> str:
    return " or ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def percent(share: float) -> str:
    return "–" if math.isnan(share) else f"{100 * share:.1f} %"


def with_interval(number: Interval, metric: str) -> str:
    """``31.2 [28.0, 34.5]`` in percent, or tokens."""
    if math.isnan(number.mean):
        return "–"
    scale = 1 if metric == "length" else 100
    return f"{scale * number.mean:.1f} [{scale * number.low:.1f}, {scale * number.high:.1f}]"


def signed(number: Interval, metric: str = "") -> str:
    """``+57.3 [+51.0, +63.2]`` in points of a percentage, or tokens."""
    if math.isnan(number.mean):
        return "–"
    scale = 1 if metric == "length" else 100
    return f"{scale * number.mean:+.1f} [{scale * number.low:+.1f}, {scale * number.high:+.1f}]"


def settings_section(settings: Mapping[str, Any]) -> str:
    """The options of the run, by name."""
    if not settings:
        return ""
    lines = ["## Settings", "", "| option | value |", "|---|---|"]
    for name, value in settings.items():
        shown = "(hidden)" if SECRET.search(str(name)) and value else as_text(hide_secrets(value))
        lines.append(f"| {inline(str(name))} | {inline(shown)} |")
    return "\n".join(lines)


def hide_secrets(value: Any) -> Any:
    """The same for credentials inside nested settings."""
    if isinstance(value, Mapping):
        return {k: "(hidden)" if SECRET.search(str(k)) and v else hide_secrets(v) for k, v in value.items()}
    return [hide_secrets(part) for part in value] if isinstance(value, list | tuple) else value


def environment_section() -> str:
    """What the run ran on."""
    lines = ["## Environment", "", "| | |", "|---|---|", f"| python | {platform.python_version()} |"]
    for package in PACKAGES:
        try:
            lines.append(f"| {package} | {inline(metadata.version(package))} |")
        except metadata.PackageNotFoundError:
            continue  # an extra that is not installed did not take part
    lines.append(f"| machine | {inline(platform.platform())}, {os.cpu_count()} CPU cores |")
    torch = sys.modules.get("torch")  # not imported for this: without it nothing ran on a GPU
    if torch is not None and torch.cuda.is_available():
        cards = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        lines.append(f"| GPU | {inline(', '.join(cards))} |")
    return "\n".join(lines)
