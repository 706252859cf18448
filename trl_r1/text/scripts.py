"""Scripts and languages: which characters a script has, which scripts a language is written in."""

from __future__ import annotations

import re

from trl_r1.errors import did_you_mean


HAN_PER_WORD = 1.6  # characters

# script -> (ranges of a regex character class, characters per word; None: a word is a run of two letters or more)
SCRIPTS: dict[str, tuple[str, float | None]] = {
    "latin": (
        "A-Za-z\u00aa\u00ba\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u02af\u0300-\u036f\u1e00-\u1eff\uff21-\uff3a\uff41-\uff5a",
        None,
    ),
    "greek": ("\u0370-\u03ff\u1f00-\u1fff", None),
    "cyrillic": ("\u0400-\u052f\u1c80-\u1c8f\u2de0-\u2dff\ua640-\ua69f", None),
    "armenian": ("\u0531-\u0587", None),
    "hebrew": ("\u0591-\u05f4", None),
    "arabic": (
        "\u0610-\u061a\u0620-\u065f\u066e-\u06d3\u06d5-\u06dc\u06df-\u06e8\u06ea-\u06ef\u06fa-\u06ff\u0750-\u077f\u08a0-\u08ff\ufb50-\ufdff\ufe70-\ufefc",
        None,
    ),
    "devanagari": ("\u0900-\u0963\u0971-\u097f", None),
    "bengali": ("\u0980-\u09e3", None),
    "gurmukhi": ("\u0a00-\u0a65\u0a70-\u0a7f", None),
    "gujarati": ("\u0a80-\u0ae3", None),
    "tamil": ("\u0b80-\u0be5", None),
    "telugu": ("\u0c00-\u0c65", None),
    "kannada": ("\u0c80-\u0ce5", None),
    "malayalam": ("\u0d00-\u0d65", None),
    "sinhala": ("\u0d80-\u0ddf", None),
    "georgian": ("\u10a0-\u10ff\u1c90-\u1cbf", None),
    "ethiopic": ("\u1200-\u135f", None),
    "hangul": ("\u1100-\u11ff\u3130-\u318f\uac00-\ud7a3", None),
    "han": ("\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af", HAN_PER_WORD),
    "kana": ("\u3041-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f", 2.5),
    "thai": ("\u0e01-\u0e3a\u0e40-\u0e4e", 4.0),
    "lao": ("\u0e81-\u0ece", 4.0),
    "khmer": ("\u1780-\u17d3", 4.0),
    "myanmar": ("\u1000-\u103f\u1050-\u109f", 4.0),
}

_BY_SCRIPT = {  # script(s) -> language codes (ISO 639-1)
    "latin": "en fr de es it pt nl pl cs sk sl hr hu ro sv da no nb nn fi et lv lt tr az vi id ms tl sw af ca eu gl cy "
    "ga is mt sq la eo so zu xh yo ig ha",
    "greek": "el",
    "cyrillic": "ru uk be bg mk kk ky mn tg",
    "armenian": "hy",
    "hebrew": "he yi",
    "arabic": "ar fa ur ps ug sd",
    "devanagari": "hi mr ne sa",
    "bengali": "bn as",
    "gurmukhi": "pa",
    "gujarati": "gu",
    "tamil": "ta",
    "telugu": "te",
    "kannada": "kn",
    "malayalam": "ml",
    "sinhala": "si",
    "georgian": "ka",
    "ethiopic": "am ti",
    "hangul": "ko",
    "han": "zh yue",
    "han kana": "ja",
    "thai": "th",
    "lao": "lo",
    "khmer": "km",
    "myanmar": "my",
    "latin cyrillic": "sr bs uz",
}
LANGUAGES: dict[str, frozenset[str]] = {
    code: frozenset(scripts.split()) for scripts, codes in _BY_SCRIPT.items() for code in codes.split()
}
_NAMES = {"english": "en", "chinese": "zh", "mandarin": "zh", "french": "fr", "german": "de", "spanish": "es"}
_NAMES |= {"italian": "it", "portuguese": "pt", "russian": "ru", "japanese": "ja", "korean": "ko", "arabic": "ar"}
_NAMES |= {"hindi": "hi", "中文": "zh", "英文": "en", "英语": "en", "cmn": "zh", "eng": "en", "zho": "zh"}

FIRST = {  # script -> its best-known language
    scripts.split()[-1]: codes.split()[0] for scripts, codes in _BY_SCRIPT.items() if scripts != "latin cyrillic"
}


def language_code(language: str) -> str:
    """The code by which ``LANGUAGES`` knows a language: ``zh-Hans`` and ``Chinese`` are ``zh``.

    Raises:
        ValueError: the language is unknown.
    """
    name = str(language).strip().lower()
    name = _NAMES.get(name, name)
    code = re.split(r"[-_]", name, maxsplit=1)[0]
    if code in LANGUAGES:
        return code
    raise ValueError(
        f"No language is called {language!r}.{did_you_mean(name, [*LANGUAGES, *_NAMES])}"
        f" Known: {', '.join(sorted(LANGUAGES))}."
    )
