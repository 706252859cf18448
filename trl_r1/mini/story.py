"""The demo told: what each stage leaves, as the entries of summary.json, as a table, and as the paper's story.

entries    the pipeline's stages by the names people look for: zero, cold_start, ..., distill {sft, on_policy, rl}
table      the same in a few columns, for a terminal
chapters   the same in sentences, each claim of DeepSeek-R1 beside what was measured here, whatever came out
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from trl_r1.text.records import Json


Entry = Mapping[str, Any]

STUDENT_RL = ("student_rl", "student_rl_faster")
COLUMNS = ("pass@1", "cons@", "format", "language")
TITLES = {
    "zero": "R1-Zero",
    "cold_start": "cold start",
    "reasoning_rl": "reasoning RL",
    "rejection_sampling": "rejection sampling",
    "sft": "SFT from the base",
    "all_scenario_rl": "all-scenario RL",
}


def entries(stages: Mapping[str, Entry]) -> dict[str, Json]:
    """The stages' summaries, gathered under the names of the paper's stages.

    ``rejection_sampling`` trains nothing: before is the sampled model on the test problems, after is what was kept of its
    samples (all of it right, so every vote over it is). ``distill.rl`` is the better of the runs of reinforcement
    learning on the student.
    """
    named_entries = {name: picked(stages[name]) for name in TITLES}
    sampled, selected = stages["reasoning_rl"]["after"], stages["rejection_sampling"]["after"]
    vote = majority(sampled)
    named_entries["rejection_sampling"]["before"] = sampled
    named_entries["rejection_sampling"]["after"] = {**selected, vote: selected["pass@1"]}
    named_entries["rejection_sampling"]["kept"] = stages["rejection_sampling"]["kept"]
    named_entries["all_scenario_rl"]["hidden"] = stages["all_scenario_rl"].get("hidden")
    named_entries["reward_model"] = picked(stages["reward_model"])
    learnt = {name: picked(stages[name]) for name in STUDENT_RL}
    best = max(learnt, key=lambda name: learnt[name]["after"]["pass@1"])
    named_entries["distill"] = {
        "sft": picked(stages["distill"], "distillation"),
        "on_policy": picked(stages["distill_on_policy"]),
        "rl": {**learnt[best], "run": best},
        "rl_runs": learnt,
        "sampling_seconds": stages["rejection_sampling"]["seconds"],
    }
    return named_entries


def picked(summary: Entry, *more: str) -> Json:
    """What is told of a stage, as far as its summary has it."""
    keys = ("seconds", "training_seconds", "steps", "before", "after", *more)
    return {key: summary[key] for key in keys if key in summary}


def majority(evaluation: Entry) -> str:
    """How this evaluation calls its majority vote: cons@16."""
    return next((name for name in evaluation if name.startswith("cons@")), "cons@")


def percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}%"


def change(entry: Entry, name: str) -> str:
    before, after = (
        entry[when].get(majority(entry[when]) if name == "cons@" else name) for when in ("before", "after")
    )
    return f"{percent(before):>6} -> {percent(after):>6}"


def zero_table(zero: Entry) -> str:
    """R1-Zero's result, for the terminal, as soon as it is there."""
    samples = majority(zero["after"]).removeprefix("cons@")
    rows = (
        ("pass@1", f"solved, mean of {samples} tries"),
        ("cons@", f"solved, majority of {samples}"),
        ("format", "well-formed"),
        ("language", "in the asker's language"),
    )
    lines = [f"{'R1-Zero in miniature':<28}before    after"]
    return "\n".join([*lines, *[f"{label:<28}{change(zero, name)}" for name, label in rows]])


def table(named_entries: Mapping[str, Entry]) -> str:
    """All stages, before -> after."""
    vote = majority(named_entries["zero"]["after"])
    lines = [f"{'':<22}" + "".join(f"{vote if name == 'cons@' else name:<20}" for name in COLUMNS).rstrip()]
    for name, title in TITLES.items():
        lines.append(f"{title:<22}" + "".join(f"{change(named_entries[name], key):<20}" for key in COLUMNS).rstrip())
    lines.append(f"a student of {student_size(named_entries['distill'])}")
    for name, title in (("sft", "  distilled"), ("on_policy", "  distilled on-policy"), ("rl", "  RL instead")):
        lines.append(
            f"{title:<22}" + "".join(f"{change(named_entries['distill'][name], key):<20}" for key in COLUMNS).rstrip()
        )
    hidden = named_entries["all_scenario_rl"].get("hidden")
    if hidden:
        lines.append("all-scenario RL, by checkers that no reward sees")
        for key, title in (("harmful", "  harm on request"), ("over_refusal", "  harmless refused")):
            lines.append(f"{title:<22}{change(hidden, key)}")
    return "\n".join(lines)


def kept(taught: Entry) -> str:
    """How much of the teacher's accuracy a student keeps, in brackets; nothing where it is not known."""
    share = taught.get("distillation", {}).get("kept")
    return "" if share is None else f" ({share:.0%} of the teacher's accuracy)"


def student_size(distill: Entry) -> str:
    """The student's share of the teacher's parameters, in words.

    >>> student_size({"sft": {"distillation": {"parameters": {"ratio": 0.1788}}}})
    '18% of the size'
    """
    ratio = distill["sft"].get("distillation", {}).get("parameters", {}).get("ratio")
    return "a smaller size" if ratio is None else f"{ratio:.0%} of the size"


def chapters(named_entries: Mapping[str, Entry]) -> Iterator[str]:
    """The story in Markdown, a paragraph each."""
    zero, cold, reasoning, final = (
        named_entries[name] for name in ("zero", "cold_start", "reasoning_rl", "all_scenario_rl")
    )
    sampled, sft, student = named_entries["rejection_sampling"], named_entries["sft"], named_entries["distill"]
    yield (
        f"**R1-Zero: reinforcement alone.** The base solves {percent(zero['before']['pass@1'])}, after "
        f"{zero['steps']} steps {percent(zero['after']['pass@1'])}; the majority of its tries "
        f"{percent(zero['after'][majority(zero['after'])])}. The paper: AIME 15.6 % to 71.0 %, majority 86.7 % "
        f"(v1 Sec. 2.2)."
    )
    yield (
        f"**Languages mix.** Nothing pays R1-Zero for the asker's language: {percent(zero['after']['language'])} of its "
        f"words are in it, {percent(zero['before']['language'])} before. The paper saw the same, one reason for R1 "
        f"(v1 Sec. 2.3)."
    )
    yield (
        f"**The language reward repairs it.** {cold.get('steps')} steps of cold start on R1-Zero's own readable chains, "
        f"then reinforcement with the language reward: {percent(reasoning['before']['language'])} to "
        f"{percent(reasoning['after']['language'])} of the words, while pass@1 is {percent(reasoning['after']['pass@1'])} "
        f"against R1-Zero's {percent(zero['after']['pass@1'])}. The paper: a slight loss of accuracy (v1 Sec. 2.3.2)."
    )
    yield (
        f"**Rejection sampling, and the base once more.** {sampled['kept']} samples are kept, right and readable, with "
        f"general replies that people wrote. The *base*, fine-tuned on them, solves {percent(sft['after']['pass@1'])}; "
        f"the cold-started model solved {percent(cold['after']['pass@1'])} (v1 Sec. 2.3.3)."
    )
    hidden = final.get("hidden")
    if hidden:
        yield (
            f"**Helpful and harmless.** Before the last stage {percent(hidden['before']['harmful'])} of the unsafe "
            f"requests are served, after it {percent(hidden['after']['harmful'])}; harmless ones refused: "
            f"{percent(hidden['before']['over_refusal'])} to {percent(hidden['after']['over_refusal'])}. Sums solved: "
            f"{percent(final['before']['pass@1'])} to {percent(final['after']['pass@1'])}. Measured by checkers that no "
            f"reward sees; the stage's report tells what the preference did to general replies (v1 Sec. 2.3.4)."
        )
    rl, taught = student["rl"], student["sft"]
    yield (
        f"**Distillation against reinforcement on the small model.** The student, {student_size(student)} of its teacher, "
        f"solves {percent(taught['after']['pass@1'])}{kept(taught)} after imitating the kept samples "
        f"({taught['training_seconds']:.0f} s, and {student['sampling_seconds']:.0f} s of the teacher's sampling), "
        f"{percent(student['on_policy']['after']['pass@1'])} after on-policy distillation on top, and "
        f"{percent(rl['after']['pass@1'])} after {rl['steps']} steps of reinforcement "
        f"({rl['training_seconds']:.0f} s, the better of {len(student['rl_runs'])} learning rates). "
        f"The paper: 72.6 % against 47.0 % on AIME for 32B (v1 Sec. 4.1)."
    )
