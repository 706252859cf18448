r"""The answer in a reply without box or tag: what follows "the answer is", a chosen letter, or the value a sentence gives.

    Option C is right.                 C        a letter (``trl_r1.answers.letters``)
    The answer is 12 because ...       12       what a cue announces, without its reason
    Answer: Mia has 8 pears.           8        a label changes nothing: the sentence behind it is read
    The largest $n$ is 34.             34       a name is no answer, its value is
    Ben pays $35 for 7 tickets.        35       nor is a number that only says for how many, in how long, out of what

A last sentence without an end mark may have been cut off: it counts only with a number, a formula, a letter or a named
answer in it.
"""

from __future__ import annotations

import re

from trl_r1.answers.denials import corrects, gives_none, is_alternative, is_announced, is_denied, is_offered
from trl_r1.answers.letters import chosen
from trl_r1.answers.notation import NUMERAL, WORD_OR_NAME, canonical
from trl_r1.answers.quantities import known_unit, quantity


_SENTENCE = re.compile(r"(?<=[.!?])[\s\"”)]+|(?<=[。！？])|\n+")
_IS = (
    r"\s*(?:(?:is|are|was|equals|=|(?:must|should|would|will|has to|can only) be|turns out to be|comes out (?:to be|as))"
    r"(?![A-Za-z])\s*(?:therefore|thus|indeed|simply|just|then|exactly|clearly|hence)?\s*[:：=]?|[:：=])\s*"
)
_CUE = re.compile(
    rf"\banswers?(?:\s+here)?(?:\s*\*\*)?{_IS}|^\s*\**(?:A|Ans)[:：.]\s*|"
    rf"^\s*\**(?:conclusion|final result)[:：]\s*|(?:答案|答)\s*(?:[:：]|是|为|等于|应为|应该是)\s*[:：]?\s*",
    re.IGNORECASE,
)
_WEAK_CUE = re.compile(
    rf"\b(?:result|solution|total){_IS}|(?:结果|总共|一共)(?:是|为|有)\s*|(?<!不)等于\s*", re.IGNORECASE
)
_PLAIN_NUMBER = re.compile(
    rf"(?<![\w.^])(?<!\^\{{)[-+]?[$€£¥]?[-+]?(?:{NUMERAL})(?:\s*/\s*\d+|(?:\s?:\s?\d+(?![\d.]))+|\^\{{?\d+\}}?)?"
    r"(?:\s*(?:%|\\%|percent\b|hundred\b|thousand\b|million\b|billion\b|trillion\b|dozen\b|万|亿))?",
    re.IGNORECASE | re.ASCII,
)
_FORMULA = re.compile(r"\$(?![\s$])([^$\n]*)(?<!\s)\$(?!\d)|\\\(([^\n]{0,300}?)\\\)|\\\[([^\n]{0,300}?)\\\]")
_DISPLAYED = re.compile(r"\$\$\s*([^$]{1,300}?)\s*\$\$|\\\[\s*((?:(?!\\[\[\]]).){1,300}?)\s*\\\]", re.DOTALL)
_NAME = re.compile(  # n, x_1, \theta, f(x), \triangle ABC, ABC: what a value may belong to, no value itself
    r"\\?[A-Za-z](?:_(?:\w|\{\w+\}))?'*(?:\([A-Za-z](?:,\s*[A-Za-z])*\))?"
    r"|\\(?:alpha|beta|gamma|theta|phi|lambda|mu|omega)|(?:\\(?:triangle|angle|overline|overrightarrow|odot)\s*)?\{?[A-Z]{1,4}\}?"
)
_WORD = re.compile(r"[^\W\d_]{2,}")
_SENTENCES_BACK = 5
_TAIL = 2000  # characters of the end in which a last sentence is looked for
_VERB = re.compile(
    r"\b(?:is|are|was|were|has|have|had|will|would|can|could|must|should|needs?|needed|takes?|took|gets?|got|makes?|made|"
    r"earns?|earned|costs?|pays?|paid|sells?|sold|weighs?|eats?|ate|left|remains?|bought|buys?|spends?|spent|saves?|saved|"
    r"gives?|gave|equals?|becomes?|runs?|ran|walks?|reads?|did|does|do|won|wins?|scored|used|uses|contains?|holds?|lives?|"
    r"received|receives|travels?|traveled|drives?|drove|grew|grows|works?|worked|finds?|found|ends? up|owes?|drinks?|"
    r"arrives?|arrived|reach\w*|starts?|started|leaves?|lasts?|lasted|plays?|played|goes|went|comes?|came|lost|loses?|"
    r"requires?|drank|collected|collects|covers?|covered|produces?|produced)\b|[有是为需要得花用剩共买卖付赚吃跑走]",
    re.IGNORECASE,
)


def from_prose(text: str, whole: bool = False) -> str | None:
    """The answer of a reply (or of a worked gold) without box, tag and ``####``; None if its end declares none.

    Args:
        whole: the text is known not to be cut off.
    """
    tail = _DISPLAYED.sub(lambda m: f"${' '.join((m[1] or m[2]).split())}$", text.strip()[-_TAIL:])
    pieces = [part for part in _SENTENCE.split(tail) if part.strip(' \t"”)')]
    if not pieces:
        return None
    for place in range(len(pieces) - 1, max(-1, len(pieces) - 1 - _SENTENCES_BACK), -1):
        sentence = pieces[place]
        if sentence.rstrip().endswith(("?", "？")):
            continue
        letters, _ = chosen(sentence)
        if letters:
            return letters
        cues = [cue for cue in _CUE.finditer(sentence) if is_announced(sentence, *cue.span())]
        if cues:
            behind = sentence[cues[-1].end() :]
            if not trimmed(behind) and place + 1 < len(pieces):  # a label on a line of its own
                behind = pieces[place + 1]
            if not whole and place + 2 >= len(pieces) and _broken_off(behind, tail):
                continue
            found = _announced(behind, label=cues[-1].group().rstrip().endswith((":", "：", ".")))
            if found:
                return found
        if corrects(sentence):
            break
    last = pieces[-1]
    if last.rstrip().endswith(("?", "？")):
        return None
    if not whole and not _ended(tail) and _unfinished(last, alone=len(pieces) == 1 or _own_line(tail, last)):
        return None
    cues = list(_WEAK_CUE.finditer(last))
    label = bool(cues) and cues[-1].group().rstrip().endswith((":", "："))
    found = _announced(last[cues[-1].end() :], label) if cues and is_announced(last, *cues[-1].span()) else None
    if found and "=" in found and quantity(canonical(found.rpartition("=")[2])) is not None:
        return asked_for(last)  # the total: 84 pounds + 75 pounds = 159 pounds
    return found or asked_for(last)


def after_cue(sentence: str) -> str | None:
    """What follows the last "the answer is" in a text; None without one."""
    cues = list(_CUE.finditer(sentence))
    return _announced(sentence[cues[-1].end() :], label=True) if cues else None


# --- was the last sentence cut off?

_END_MARK = re.compile(r"[.!?。！？…][\s\"'”’)*_`\]}$]*(?:\\[)\]])?[\s*]*$")
_HANGING = re.compile(
    r"(?:\b(?:a|an|the|it|its|this|that|these|those|of|to|in|for|by|with|from|at|on|and|or|but|so|then|thus|hence|therefore|we|"
    r"he|she|they|you|i|is|are|was|were|be|has|have|had|will|would|can|get|gets|equals|as|if|since|because|let|which|"
    r"our|his|her|their|my|your|also|not|than|when|where|now|next|first|finally|there|here)"
    r"|所以|因此|因为|那么|于是|得到|就是|等于|是|为|有|的|和|或|则)$",
    re.IGNORECASE,
)
_CONNECTIVE = re.compile(
    r"(?:so|then|thus|hence|therefore|now|next|since|because|if|let|first|finally|we|but|and|also|this|that|it|"
    r"所以|因此|因为|那么|于是|接着|然后|首先)(?![A-Za-z])",
    re.IGNORECASE,
)
_TRUTH = re.compile(r"(?:yes|no|true|false)\b|是的|不是|正确|错误|对$|否$|是$", re.IGNORECASE)


def is_cut(text: str) -> bool:
    """Whether the last sentence of a text has no end mark and says nothing that could be an answer."""
    pieces = [part for part in _SENTENCE.split(text.strip()[-_TAIL:]) if part.strip(' \t"”)')]
    if not pieces or _ended(text):
        return False
    return _unfinished(pieces[-1], alone=len(pieces) == 1 or _own_line(text.strip(), pieces[-1]))


def _ended(text: str) -> bool:
    return _END_MARK.search(text[-80:]) is not None


def _own_line(text: str, last: str) -> bool:
    return text[: text.rfind(last.strip())].rstrip(" \t").endswith("\n")


def _broken_off(fragment: str, text: str) -> bool:
    """Whether the end of an announced answer is missing: an open brace, an operator with nothing behind it."""
    bare = fragment.rstrip()
    if _ended(text) and not bare.endswith(("=", "+", "\\")):
        return False
    opened = bare.count("{") - bare.count("\\{") > bare.count("}") - bare.count("\\}") or bare.count(
        "\\("
    ) > bare.count("\\)")
    hanging = bare.endswith(("=", "+", "-", "*", "/", "\\", "^", "_", "×", "÷", "≈", "<", ">", "(", "[", "{"))
    return opened or (hanging and not bare.endswith(("**", "__")))


def _unfinished(last: str, alone: bool) -> bool:
    """Whether a last sentence without an end mark says nothing that could be an answer."""
    if _broken_off(last, last):
        return True
    bare = trimmed(last)
    if _HANGING.search(bare) and re.search(r"[A-Za-z]{2}$|[\u4e00-\u9fff]$", bare):
        return True  # "he has 5 apples, so we"
    if _TRUTH.match(bare) or _PLAIN_NUMBER.search(last) or re.search(r"[\d=\\^]", last) or _FORMULA.search(last):
        return False
    if not alone:
        return True
    return bool(_HANGING.search(bare) or _CONNECTIVE.match(bare) or len(_WORD.findall(bare)) > 8)


# --- what a sentence gives as its answer

_REASON = re.compile(
    r"\s*[,;，；]?\s*\(?\b(?:because|since|as|when|which|where|so|after|given|due|for|"
    r"in (?:total|all|\d|the|each|every|one|this)|"
    r"at|whenever|instead|rather than|not)\b.*$|[，,;；]\s*(?:因为|所以|其中|故).*$",
    re.IGNORECASE | re.DOTALL,
)
_MORE = re.compile(r"\s*(?:or\b|if\b|and\b|to\b|[,/;±+*^!=]|-\s*\d|或|和)")


_HEDGE = re.compile(
    r"^(?:approximately|about|around|roughly|exactly|only|just|precisely|约|大约)\s*(?=[$\\\d-])", re.IGNORECASE
)


def _announced(behind: str, label: bool = False) -> str | None:
    found = _HEDGE.sub("", trimmed(behind))
    corrected = re.match(r"not\s+[^,.]{1,40}?,?\s*but(?:\s+rather)?\s+(.+)$", found, re.IGNORECASE | re.DOTALL)
    if corrected:
        return _announced(corrected[1], label)
    if re.match(r"[(\[$*\\]*(?:[A-H](?![A-Za-z])|[A-H]{2}|text|mathrm|(?i:option|choice))", found):
        letters, _ = chosen(f"The answer is {found}")
        if letters:
            return found if len(found) <= 3 else letters
    if label and _is_sentence(found):
        inside = chosen(found)[0]
        return inside or asked_for(found)
    formula = _FORMULA.match(found)
    if formula and not re.match(r"\s*(?:or|and|,|/|或|和)", found[formula.end() :]):
        inside = next(filter(None, formula.groups()), "").strip()
        rest = re.match(r"\s*(?:is|are|=|equals|为|是)\s*(.+)$", found[formula.end() :], re.DOTALL)
        if rest and _NAME.fullmatch(inside):
            return _announced(rest[1])
        return inside or None
    number = _PLAIN_NUMBER.match(found)
    if number:
        shorter = trimmed(_REASON.sub("", found))
        if shorter and shorter != found and quantity(canonical(shorter)) is not None:
            return shorter
    if len(found) <= 40 and not is_prose(found):
        return found or None
    if number and not _MORE.match(found, number.end()):
        return number.group().strip()
    return found if len(found) <= 80 else None


_LATER = re.compile(r"\d+(?:\.\d+)?\s*(?:(?:小时|天|分钟?|秒|年|个?月|周)之?后|[a-z]+\s+(?:later|after|from now)\b)")


def _is_sentence(text: str) -> bool:
    """Whether a text behind a label is a sentence with a number in it that is not its beginning."""
    if _LATER.match(text) or re.match(r"[\u4e00-\u9fff][^\d$]*[\d$]", text):
        return True
    if not re.match(r"[*_(]*[^\W\d_]", text) or re.match(r"\\|[A-Za-z]\b\s*[-=+<>^*/(]", text):
        if not re.match(r"\$[A-Za-z]\$\s*(?:is|=|equals)", text):
            return False
    values = [*_PLAIN_NUMBER.finditer(text), *_FORMULA.finditer(text)]
    return any(_VERB.search(text, 0, value.start()) for value in values)


_HOW = (  # words that make of the number behind them a condition, not an answer
    r"(?:(?<!account )(?<!accounts )for|(?<!result )(?<!results )(?<!resulting )(?<!up )in|after|during|within|every|"
    r"per|from|"
    r"among|amongst|(?<!arrive )(?<!arrives )at|than|over|on|(?<!left )(?<!up )(?<!ends )(?<!end )with|throughout|"
    r"(?:out|each|one|all|both|any|some|most|none|half|\d|%)\s+of|across|using|until|"
    r"rounded to(?: the nearest)?|(?:to|by|into|between|with) (?:each|all) of)"
)
_DETERMINER = (
    r"(?:all|each|every|the|these|those|his|her|their|its|our|my|a|an|another|any|exactly|only|about|just|next|first|last|"
    r"remaining|other|such|of)"
)
_GOVERNED = re.compile(rf"(?<![A-Za-z]){_HOW}\s+(?:{_DETERMINER}\s+){{0,4}}$|(?:买|购买|用)了?\s*$", re.IGNORECASE)
_CLAUSE = re.compile(
    r"(?<![A-Za-z])(?:when|where|if|of which|of whom|including|"
    r"because|since|while|whenever|provided that|given that|unless)\b[^,;.]{0,80}$",
    re.IGNORECASE,
)
_PURPOSE = re.compile(
    r"(?<!has)(?<!have)(?<!had)(?<!need)(?<!needs)(?<!going)(?<!able)(?<!wants)(?<!want)(?<!used)(?<!ought)(?<!likely)(?<!expected)"
    rf"(?<!supposed)(?<!required)(?<!allowed)(?<!equal)(?<!up)\s+to\s+(?!about|exactly|only|just|around)[a-z]+\s+(?:{_DETERMINER}\s+){{0,3}}$"
)
_LABEL_NUMBER = re.compile(
    r"\b(?:day|page|line|step|row|part|chapter|level|case|equation|figure|table|question|problem|number|no\.|room)\s+#?$",
    re.IGNORECASE,
)
_OPENING = re.compile(
    r"^[\s*_]*(?:(?:so|thus|hence|therefore|then|and|finally|all|the|所以|因此)[\s,，]*)*$", re.IGNORECASE
)


def asked_for(sentence: str) -> str | None:
    """The answer that a sentence gives: its last formula or number, but for names and conditions; else all of it.

    >>> asked_for("Ben has to pay $35 for 7 tickets."), asked_for("The largest $n$ is 34."), asked_for("It is blue.")
    ('$35', '34', 'It is blue')
    """
    last = trimmed(sentence)
    whole = last if last and len(last) <= 80 else None
    formulas = [match for match in _FORMULA.finditer(last) if next(filter(None, match.groups()), "").strip()]
    values = [match for match in formulas if not _NAME.fullmatch(_inside(match)) and _inside(match)[0] != "^"]
    covered = [match.span() for match in formulas]
    numbers = [
        match
        for match in _PLAIN_NUMBER.finditer(last)
        if not any(start <= match.start() < end or start < match.end() <= end for start, end in covered)
    ]
    in_text = "\\" not in _FORMULA.sub("", last) and (
        formulas or (quantity(canonical(last)) is None and ("=" in last or WORD_OR_NAME.search(last)))
    )
    found = sorted([*values, *(numbers if in_text else [])], key=lambda match: match.start())
    if not found:
        return _inside(formulas[-1]) if formulas and not numbers else whole
    found = [match for match in found if not is_denied(last, *match.span())]
    if not found or _only_supposed(last) or gives_none(last):
        return whole
    if len(found) > 1 and (is_alternative(last, *found[-2:]) or is_offered(last, found[-1].start())):
        return whole
    picked = _picked(last, found)
    if picked is found[-1]:
        joined = _joined(last, found)
        if joined:
            return joined
    return _inside(picked) if picked.re is _FORMULA else picked.group().strip()


_SUPPOSED = re.compile(r"\s*(?:suppose|assume|imagine|pretend|假设|假定|如果)\b[^,.;，。；]*$", re.IGNORECASE)


def _only_supposed(sentence: str) -> bool:
    """Whether a sentence says nothing but what is to be supposed, or what somebody does not know."""
    if _SUPPOSED.match(sentence) or _UNSURE.search(sentence):
        return True
    return any(not is_announced(sentence, *cue.span()) for cue in _SAID.finditer(sentence))


_UNSURE = re.compile(r"(?:\bnot|n['’]t|\bcannot)\s+(?:know|say|tell|sure|certain)\s+(?:whether|if)\b", re.IGNORECASE)
_SAID = re.compile(rf"\banswers?{_IS}|答案是", re.IGNORECASE)


def _inside(match: re.Match[str]) -> str:
    return next(filter(None, match.groups()), "").strip()


_GOES_ON = re.compile(
    r"[,;=+*/<>]|\b(?:so|then|which|that|therefore|hence|leav\w+|means?|is|are|was|or|and (?:then|so))\b"
)


def _picked(text: str, found: list[re.Match[str]]) -> re.Match[str]:
    """The last value that is no condition ("for 7 tickets", "in 3 days", "of the 12 apples"), else the last of all."""
    last = found[-1]
    results = [match for match in found if re.search(r"=\s*$", text[: match.start()])]
    if results and results[-1] is not last and not _GOES_ON.search(text, results[-1].end()):
        return results[-1]  # "10 + 20 = $30 from 8 cakes"
    governed = [_is_condition(text, match) for match in found]
    for place in range(1, len(found)):  # "for 3 kids and 2 adults"
        between = text[found[place - 1].end() : found[place].start()]
        if governed[place - 1] and re.fullmatch(r"\s*(?:[^\W\d_]+\s+){0,3}(?:and|,|和)\s*[$€£¥]?", between):
            governed[place] = True
    if not governed[-1]:
        return last
    free = [match for match, bound in zip(found, governed, strict=True) if not bound]
    if not free:
        return last
    best = free[-1]
    before = text[max(0, last.start() - 30) : last.start()]
    if _OPENING.match(text[: best.start()]) and not re.search(r"\bof\s+(?:the\s+|all\s+|these\s+|those\s+)?$", before):
        if re.search(r"\b(?:in|within|after)\s+(?:[a-z]+\s+){0,2}$", before):
            return last  # "3 workers finish it in 6 days": who, not how many
    if _money(text, last) and not _money(text, best) and re.search(r"\bfor\s+(?:only\s+|about\s+|just\s+)?$", before):
        return best if re.search(r"\b(?:can|could|able to)\b", text) else last  # sold 3 boxes for $60
    return best


def _money(text: str, match: re.Match[str]) -> bool:
    return bool(
        re.search(r"[$€£¥]", match.group())
        or re.match(r"\s*(?:dollars?|cents?|euros?|pounds?|元)\b", text[match.end() :])
    )


_COMPARED = re.compile(r"\s+(?:[a-z]+\s+){0,2}(?:more|fewer|less|greater|\w{3,}er)\b[^,.;]{0,60}\bthan\b")


def _is_condition(text: str, match: re.Match[str]) -> bool:
    before = text[max(0, match.start() - 90) : match.start()].rstrip("$\\( ") + " "
    if before.endswith((" which is ", " which was ", " which are ")) and _COMPARED.match(text, match.end()):
        return True  # 12, which is 3 more than Tom has
    return any(pattern.search(before) for pattern in (_GOVERNED, _CLAUSE, _PURPOSE, _LABEL_NUMBER))


_TOGETHER = re.compile(r"[\s$]*(?:,|、|,?\s*\band\b|和|与|以及)[\s$]*")
_RATIO = re.compile(r"\b(?:ratio|odds|proportion)\b", re.IGNORECASE)


def _joined(text: str, found: list[re.Match[str]]) -> str:
    """The last values where they are one answer: 1, 2, 3; $2$ and $3$; 3 to 4, a ratio; 2 hours and 30 minutes."""
    row = [found[-1]]
    for match in reversed(found[:-1]):
        if not _TOGETHER.fullmatch(text, match.end(), row[0].start()):
            break
        row.insert(0, match)
    if len(row) > 1:
        return ", ".join(_inside(m) if m.re is _FORMULA else m.group().strip() for m in row)
    if len(found) < 2:
        return ""
    between = text[found[-2].end() : found[-1].start()]
    if re.fullmatch(r"\s+to\s+", between) and _RATIO.search(text, 0, found[-2].start()):
        return f"{found[-2].group()} to {found[-1].group()}"
    units = (
        re.fullmatch(r"\s*([A-Za-z]+)\s*,?\s*(?:and\s*)?", between),
        re.match(r"\s*([A-Za-z]+)", text[found[-1].end() :]),
    )
    if units[0] and units[1]:
        known = [known_unit(unit[1].lower()) for unit in units if unit]
        if all(known) and known[0][0] == known[1][0] and known[0] != known[1]:  # type: ignore[index]
            return text[found[-2].start() : found[-1].end() + units[1].end()]
    return ""


def trimmed(text: str) -> str:
    """Without spaces, emphasis and end marks at its ends."""
    return text.strip().strip("*_").strip().rstrip(".,;:!?。！？；，").strip().strip("*_").strip()


def is_prose(text: str) -> bool:
    """Four words or more, or five Chinese characters."""
    return len(_WORD.findall(text)) >= 4 or len(re.findall(r"[\u4e00-\u9fff]", text)) >= 5
