"""gpu.md: the figures of a record as tables a person reads, by section; what failed, and what had no time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gpu_sections.catalogue import Section


Figures = Mapping[str, Any]
RECIPE_HEAD = (
    "recipe", "micro-batch", "rollout, batching", "training, GiB", "rollout, GiB", "step, s", "trained tokens/s",
    "generated tokens/s", "largest micro-batch on 24 / 48 / 80 GB",
)  # fmt: skip
CARDS = ("24 GB", "48 GB", "80 GB")


def markdown(content: Figures, sections: Sequence[Section]) -> str:
    """The whole page."""
    kept = content["sections"]
    lines = [f"# {content['card']}{', in miniature: no figure means anything' if content['tiny'] else ''}", ""]
    lines += [*machine(figures_of(content, "machine")), "", *outcomes(kept, sections, content["left_out"])]
    for title, made in (
        ("Recipes", recipes(content)),
        ("A step of zero against stock TRL", ratio(content)),
        ("Sampling", sampling(content)),
        ("Identity with stock TRL", identity(figures_of(content, "identity"))),
        ("Gradients", gradients(content)),
        ("Fast rollout against generate, greedy", rollout(figures_of(content, "rollout"))),
        ("AGSER under other attention", attribution(figures_of(content, "attribution"))),
        ("Ten steps, killed and resumed", resume(figures_of(content, "resume"))),
    ):
        if made:
            lines += ["", f"## {title}", "", *made]
    return "\n".join(lines) + "\n"


def figures_of(content: Figures, name: str) -> Figures:
    """What a section measured; {} where it measured nothing."""
    return content["sections"].get(name, {}).get("figures", {})


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """A table; [] without rows."""
    if not rows:
        return []
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join("–" if cell is None else str(cell) for cell in line) + " |" for line in lines]


def machine(figures: Figures) -> list[str]:
    """Versions, and what differs from the tested ones."""
    if not figures:
        return []
    versions = ", ".join(f"{name} {version}" for name, version in figures.get("versions", {}).items())
    lines = [f"{figures.get('memory_gib')} GiB, driver {figures.get('driver')}; {versions}."]
    if figures.get("other_versions"):
        lines.append(f"Not the tested versions: {', '.join(figures['other_versions'])}.")
    if figures.get("broken_seams"):
        lines.append(f"TRL differs where we extend it: {'; '.join(figures['broken_seams'])}.")
    if "copy_tb_per_s" in figures:
        lines.append(
            f"Copies on the card: {figures['copy_tb_per_s']} TB/s; bf16 products: {figures['matmul_bf16_tflops']} TFLOP/s."
        )
    return lines


def outcomes(kept: Figures, sections: Sequence[Section], left_out: Sequence[str]) -> list[str]:
    """How every section ended, and what was left out."""
    rows = [
        [section.title, kept[section.name]["status"], kept[section.name]["seconds"], kept[section.name]["error"],
         f"{kept[section.name]['date']} {kept[section.name]['commit'] or ''}".strip()]
        for section in sections
        if section.name in kept
    ]  # fmt: skip
    lines = table(("section", "", "seconds", "why", "measured"), rows)
    titles = {section.name: section.title for section in sections}
    if left_out:
        lines += ["", f"No time for: {'; '.join(titles.get(name, name) for name in left_out)}. A second call goes on."]
    return lines


def recipes(content: Figures) -> list[str]:
    """Memory and speed of the recipes that train."""
    rows = [recipe_row(name, kept["figures"]) for name, kept in content["sections"].items()
            if "training_peak_gib" in kept["figures"]]  # fmt: skip
    if not rows:
        return []
    return [
        *table(RECIPE_HEAD, rows),
        "",
        "Random weights of the recipe's shape, its own micro-batch, lengths and quantisation. GiB are torch's reserve; a "
        "card needs about one more. \\* computed from the shape, \\*\\* scaled to the recipe's length and accumulation.",
    ]


def recipe_row(name: str, figures: Figures) -> list[Any]:
    """One recipe's line."""
    scaled = figures.get("rollout_scaled_from")
    rollout = figures.get("rollout_peak_gib")
    if scaled:
        rollout = f"{figures['rollout_peak_computed_gib']}\\*"
    batch = figures.get("largest_micro_batch", {})
    roads = ", ".join(str(figures[key]) for key in ("rollout", "batching") if key in figures)
    mark = "\\*\\*" if scaled or figures["accumulated"] != figures["accumulated_by_recipe"] else ""
    return [
        f"`{name}`", figures["micro_batch"], roads or None, figures["training_peak_gib"], rollout,
        f"{figures['recipe_step_seconds']}{mark}", figures["trained_tokens_per_second"],
        figures.get("generated_tokens_per_second"), " / ".join(str(batch.get(card, "–")) for card in CARDS),
    ]  # fmt: skip


def ratio(content: Figures) -> list[str]:
    """Stock beside ours, and beside ours with a copy."""
    figures = {**figures_of(content, "copy"), **figures_of(content, "ratio")}
    keys = ("step_seconds", "generation_seconds", "training_seconds", "generated_tokens_per_second",
            "trained_tokens_per_second", "training_peak_gib", "rollout_peak_gib")  # fmt: skip
    names = {"stock": "stock", "ours": "ours", "copy": "ours, `rollout_copy: bfloat16`"}
    rows = [[name, *(figures[arm].get(key) for key in keys)] for arm, name in names.items() if arm in figures]
    if not rows:
        return []
    told = f"Ratio {figures['ratio']}. " if "ratio" in figures else ""
    return [
        *table(("", *(key.replace("_", " ") for key in keys)), rows),
        "",
        f"{told}{figures['rows']} completions of at most {figures['longest']} tokens, {figures['mean_length']} on average, "
        f"{figures['dead_groups']} of the groups dead; stock's generation: {figures['stock_generation']}.",
    ]


def sampling(content: Figures) -> list[str]:
    """The recipes that only sample."""
    keys = ("model", "rows", "longest", "peak_gib_computed", "generated_tokens_per_second", "batch_seconds_scaled")
    rows = [[f"`{name}`", *(kept["figures"].get(key) for key in keys)] for name, kept in content["sections"].items()
            if "peak_gib_computed" in kept["figures"]]  # fmt: skip
    return table(("", "model", "rows", "tokens", "GiB, computed", "generated tokens/s", "seconds, scaled"), rows)


def identity(figures: Figures) -> list[str]:
    """Bit for bit, or not."""
    rows = [
        [
            name,
            "identical" if row["identical"] else "different",
            "yes" if row["stock_repeats"] else "no",
            row["difference"],
        ]
        for name, row in figures.get("rows", {}).items()
    ]
    return table(("", "two steps of ours and stock's", "stock repeats itself", "difference"), rows)


def gradients(content: Figures) -> list[str]:
    """Errors of all arms."""
    rows: list[list[Any]] = []
    for section, key, what in (
        ("gradients", "against_float32", "float32, padded"),
        ("gradients", "against_the_policys_own", "the policy's own log-probabilities"),
        ("nf4", "against_the_weights_it_stands_for", "float32 with the weights NF4 stands for"),
    ):
        for name, row in figures_of(content, section).get(key, {}).items():
            told = [row, None] if isinstance(row, str) else [row["relative_error"], row["one_minus_cosine"]]
            rows.append([f"NF4, {name}" if section == "nf4" else name, what, *told])
    left = figures_of(content, "nf4").get("what_nf4_leaves_out")
    if left:
        rows.append(["those weights", "the original weights", left["relative_error"], left["one_minus_cosine"]])
    return table(("gradient", "against", "relative error", "1 - cosine"), rows)


def rollout(figures: Figures) -> list[str]:
    """Equal rows, and how far apart logits are where rows part."""
    rows = [
        [name, f"{row['equal_rows']} of {row['rows']}", f"{row['tokens_before_parting']} of {row['tokens']}",
         row["widest_gap"]]
        for name, row in figures.get("rows", {}).items()
    ]  # fmt: skip
    return table(("", "equal rows", "tokens before parting", "widest gap there, in spreads of the logits"), rows)


def attribution(figures: Figures) -> list[str]:
    """Contributions against eager attention in float32."""
    rows = [[name, row["relative_error"], row["completeness"]] for name, row in figures.get("rows", {}).items()]
    return table(("", "relative error of the contributions", "largest error of a layer's sum"), rows)


def resume(figures: Figures) -> list[str]:
    """Whether a killed run goes on along the same way."""
    if "losses_equal" not in figures:
        return []
    words = {True: "equal", False: "different", None: "not measured"}
    repeats = {True: "repeats itself", False: "does not repeat itself", None: "was not asked to repeat itself"}
    return [
        f"{figures['steps']} steps, killed in step {figures['killed_in_step']}, resumed from step "
        f"{figures['checkpoint_of_step']}: losses {words[figures['losses_equal']]}, weights "
        f"{words[figures['weights_equal']]}; the device {repeats[figures.get('device_repeats_itself')]}."
    ]
