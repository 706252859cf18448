"""What takes an answer back: a number that is denied, an answer that somebody else gave or that is only supposed, a
correction, one of two.

    It is 13, not 12.                       12 is denied
    x = 12 is wrong.                        so it is here
    I don't think the answer is 12.         a cue that announces nothing
    The answer is 12. Wait, no, it is 13.   the second sentence corrects
"""

from __future__ import annotations

import re


_FILLER = (
    r"(?:\s+(?:be|been|equals?|to|exactly|necessarily|possibly|just|simply|actually|really|the|right|correct|number|"
    r"value|answer|is|are|of|at|a)\b){0,4}"
)
_BEFORE = re.compile(
    rf"(?:(?:\bnot|n['’]t|\bcannot|\bnever|\bneither|\bnor|\bother than|\bunequal to|\brather than|\binstead of|\bexcept|"
    rf"(?<!\d )(?<!no )\b(?:more|less|greater|fewer) than|\\neq?|≠|!=){_FILLER}"
    r"|不是|并不是|并非|而非|不等于|不可能(?:是|为|等于)|不会(?:是|为|等于)|不应该?(?:是|为)|不为|排除"
    r"|(?:大于|小于|多于|少于|超过|不足|不到)|\bbetween\s[^\n]{1,30}\sand)[\s$\\(]*$",
    re.IGNORECASE,
)
_BEHIND = re.compile(
    r"[\s$\\)\"”'’*]*(?:[^\W\d_]+\s+){0,2}?"
    r"(?:(?:is|was|would be|must be|seems|has to be)\s+(?:clearly\s|also\s|therefore\s)?"
    r"(?:wrong|incorrect|false|invalid|impossible|the wrong|an incorrect|"
    r"not\s+(?:the|an?|right|correct|possible|valid|true)\b)"
    r"|(?:is|was)n['’]t\s+(?:the|an?|right|correct|possible|valid|true)\b|(?:cannot|can['’]t|could not|couldn['’]t) be\b)"
    r"|[\s$\\)\"”]*(?:这个答案)?是?(?:错误?的|不对|不正确|不是答案|不成立)",
    re.IGNORECASE,
)
_OR = re.compile(r"[\s$,]*(?:\bor\b|或者?|还是)\s*(?:[A-Za-z]\s*=\s*)?[\s$]*")


def is_denied(text: str, start: int, end: int) -> bool:
    """Whether what stands at ``text[start:end]`` is denied by what stands around it.

    >>> text = "It is 13, not 12."
    >>> is_denied(text, 6, 8), is_denied(text, 14, 16)
    (False, True)
    """
    return _BEFORE.search(text[max(0, start - 60) : start]) is not None or _BEHIND.match(text, end) is not None


def is_alternative(text: str, first: re.Match[str], second: re.Match[str]) -> bool:
    """Whether two answers are offered for one: "5 or 7"."""
    return _OR.fullmatch(text, first.end(), second.start()) is not None


_NOT_MEANT = re.compile(
    r"(?:\b(?:whether|if|unless|suppose|supposing|assum\w+|imagine|pretend|thought|claims that|claimed|says|said|thinks|"
    r"believes|guess(?:es|ed)|told|argue[sd]?|doubt\w*|wrong|false|incorrect|untrue|impossible|deny|denies|"
    r"(?:might|may|could|people|they|many|some|students?|everyone) (?:say|think|expect|guess|believe)|"
    r"not (?:true|know|think|believe|sure|certain|mean|clear|the case)|"
    r"n['’]t (?:true|know|think|believe|sure|certain|mean|clear|the case)|no (?:way|reason))\b[^.,;!?:，]{0,60}"
    r"|(?:不知道|不认为|不确定|(?:有人|人们|同学|老师|他们?|她们?|小.)(?:说|认为|觉得)|如果|假设|假如|假定|倘若|是否|以为)[^。；！？，]{0,30})$",
    re.IGNORECASE,
)
_FALSE = re.compile(
    r"[\"”’'*]?\s*(?:is|was|would be)\s+(?:wrong|incorrect|false|untrue|not (?:true|right|correct))\b", re.IGNORECASE
)


def is_announced(sentence: str, start: int, end: int) -> bool:
    """Whether a cue ("the answer is") at ``sentence[start:end]`` announces the answer of who writes.

    >>> is_announced("I doubt that the answer is 12.", 13, 27), is_announced("So the answer is 12.", 3, 17)
    (False, True)
    """
    behind = sentence[end:]
    quoted = re.match(r"[^.!?\n]{1,60}[\"”]", behind)
    return _NOT_MEANT.search(sentence[:start]) is None and not (quoted and _FALSE.match(behind[quoted.end() - 1 :]))


_CORRECTS = re.compile(
    r"[\s\"“*_(]*(?:(?:oh|ah|hm+|um|well|but|and|so)\b[\s,.!]*)?(?:wait\b|no\s*[,.!:—-]|no wait|nope\b|"
    r"actually\b|correction\b|"
    r"hold on\b|sorry\b|oops\b|scratch that|on second thought|"
    r"i (?:made|have made|was|mis\w+)\b[^.]{0,30}(?:mistake|error|wrong|counted|read|calculated)|"
    r"(?:that|this)(?:['’]s|\s+(?:is|was|answer is))\s+(?:wrong|incorrect|not (?:right|correct)|false)\b"
    r"|不对|等等|等一下|错了|更正|我(?:算|弄|看)?错了|不[，,]|不是[，,])",
    re.IGNORECASE,
)


def corrects(sentence: str) -> bool:
    """Whether a sentence takes back what stood before it.

    >>> corrects("Wait, no, it is 13."), corrects("No further step is needed."), corrects("不对，是13。")
    (True, False, True)
    """
    return _CORRECTS.match(sentence) is not None


_NO_ANSWER = re.compile(
    r"\b(?:give up|let me know|no idea|unable to|feel free|any (?:\w+ )?(?:number|integer|value)s?|"
    r"(?:can(?:no|['’])t|could(?: no|n['’])t|do(?: no|n['’])t) (?:solve|answer|determine|figure|find|tell|know|decide))\b"
    r"|不会做|不知道",
    re.IGNORECASE,
)
_ALSO = re.compile(r"\b(?:could|might|may|can)\s+(?:also\s+|equally\s+|just as well\s+)?be\s*[$\\(]*$", re.IGNORECASE)


def gives_none(sentence: str) -> bool:
    """Whether a sentence says that it gives no answer, or leaves it open.

    >>> gives_none("Let me know if you have 12 questions."), gives_none("Any number from 1 to 9."), gives_none("It is 9.")
    (True, True, False)
    """
    return _NO_ANSWER.search(sentence) is not None


def is_offered(text: str, start: int) -> bool:
    """Whether what stands at ``start`` is one more possibility: "but it could also be 13"."""
    return _ALSO.search(text[max(0, start - 40) : start]) is not None
