"""The review page: queued rows in, one HTML file out that needs no server, loads nothing and sends nothing.

Model text is untrusted: it travels as JSON in which ``<`` is escaped, and is only ever set as text. The page's own policy
forbids every connection. Decisions stay in the browser (local storage, where it has one) until `Save` hands them over as a
file for `trl-r1 review take --file`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from trl_r1.data.review import SHOWN
from trl_r1.review.records import as_text


VERDICTS: dict[bool | None, str] = {True: "right", False: "wrong"}
STYLE = """
body{font:16px/1.5 system-ui,sans-serif;margin:0 auto;max-width:60rem;padding:1rem;color:#1a1a1a;background:#fff}
header{position:sticky;top:0;background:#fff;padding:.5rem 0;border-bottom:1px solid #ccc;z-index:1}
article{border:1px solid #ccc;border-radius:.4rem;margin:1rem 0;padding:.8rem;overflow-wrap:anywhere}
article.keep{border-left:.4rem solid #009E73}article.drop{border-left:.4rem solid #D55E00}
pre,textarea{width:100%;box-sizing:border-box;font:14px/1.4 ui-monospace,monospace;white-space:pre-wrap;margin:.3rem 0}
textarea{min-height:7rem}pre{background:#f4f4f4;padding:.5rem;border-radius:.3rem}
label{margin-right:1rem}input[type=text]{width:100%;box-sizing:border-box;padding:.3rem}
button{font:inherit;padding:.3rem .8rem}.why{color:#8a3b00}.small{color:#555;font-size:.9rem}
@media(prefers-color-scheme:dark){body,header{background:#161616;color:#eee}pre{background:#262626}.why{color:#f0a060}
.small{color:#aaa}textarea,input,button{background:#222;color:#eee;border:1px solid #555}}
"""

SCRIPT = """
"use strict";
const data = JSON.parse(document.getElementById("rows").textContent);
const key = "trl-r1-review-" + data.name;
let marks = {};
try { marks = JSON.parse(localStorage.getItem(key) || "{}"); } catch (error) { marks = {}; }
const remember = () => {
  try { localStorage.setItem(key, JSON.stringify(marks)); } catch (error) { status("not kept: " + error); }
};
const status = (text) => { document.getElementById("status").textContent = text; };
const make = (tag, text, kind) => {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (kind) node.className = kind;
  return node;
};
const count = () => {
  const done = data.rows.filter((row) => (marks[row.id] || {}).decision).length;
  status(done + " of " + data.rows.length + " marked");
};
for (const row of data.rows) {
  const mark = marks[row.id] = marks[row.id] || {decision: "", note: "", completion: row.completion};
  const box = make("article", undefined, mark.decision);
  box.id = "row-" + row.id;
  box.append(make("p", row.why.join("; "), "why"));
  box.append(make("pre", row.question));
  const facts = [row.verdict, row.answer && "answer: " + row.answer, row.solution && "gold: " + row.solution,
    row.language, row.id];
  box.append(make("p", facts.filter(Boolean).join(" · "), "small"));
  const text = make("textarea");
  text.value = mark.completion;
  text.setAttribute("aria-label", "answer, may be edited");
  text.addEventListener("input", () => { mark.completion = text.value; remember(); });
  box.append(text);
  for (const decision of ["keep", "drop", ""]) {
    const label = make("label");
    const radio = make("input");
    radio.type = "radio";
    radio.name = "decision-" + row.id;
    radio.value = decision;
    radio.checked = mark.decision === decision;
    radio.addEventListener("change", () => { mark.decision = decision; box.className = decision; remember(); count(); });
    label.append(radio, " " + (decision || "undecided"));
    box.append(label);
  }
  const note = make("input");
  note.type = "text";
  note.placeholder = "note";
  note.value = mark.note;
  note.setAttribute("aria-label", "note");
  note.addEventListener("input", () => { mark.note = note.value; remember(); });
  box.append(note);
  document.getElementById("list").append(box);
}
document.getElementById("save").addEventListener("click", () => {
  const lines = data.rows.map((row) => {
    const mark = marks[row.id];
    const edited = mark.decision === "drop" ? row.completion : mark.completion;
    return JSON.stringify({id: row.id, decision: mark.decision, note: mark.note, ...row.shown, completion: edited});
  });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([lines.join("\\n") + "\\n"], {type: "application/jsonl"}));
  link.download = "review.jsonl";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
});
count();
"""


def inline_json(value: Any) -> str:
    """JSON that can stand in a script element: no ``<``, no line separators."""
    text = json.dumps(value, ensure_ascii=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def held(value: Any) -> str:
    """Text as files hold it: half a character (a lone surrogate) as its escape, so that saving is no edit."""
    return str(value or "").encode("utf-8", errors="backslashreplace").decode("utf-8")


def page(rows: Sequence[Mapping[str, Any]], of: int) -> str:
    """The page for the rows that still wait, of ``of`` altogether."""
    name = hashlib.sha256("".join(row["id"] for row in rows).encode()).hexdigest()[:12]
    entries = [
        {
            "id": row["id"],
            "why": [": ".join(reason) for reason in row.get("reasons", [])],
            "question": held(as_text(row.get("question") or row["prompt"])),
            "verdict": VERDICTS.get(row.get("right"), ""),
            "answer": held(row.get("answer")),
            "solution": held(row.get("solution")),
            "language": held(row.get("language")),
            "completion": held(row["completion"]),
            "shown": {key: held(row.get(key)) for key in SHOWN},
        }
        for row in rows
    ]
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>Review: {len(rows)} of {of}</title><style>{STYLE}</style></head>
<body><header><strong>Review</strong> <span id="status"></span> <button id="save" type="button">Save</button>
<div class="small">{len(rows)} of {of} answers wait. Mark keep or drop, edit where needed, save, then
<code>trl-r1 review take FOLDER --file review.jsonl</code>.</div></header>
<main id="list"></main>
<script type="application/json" id="rows">{inline_json({"name": name, "rows": entries})}</script>
<script>{SCRIPT}</script></body></html>
"""
