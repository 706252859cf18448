"""Measures: what a unit word multiplies a number with, so that ``1 hour + 30 minutes = 90 minutes`` can be judged."""

from __future__ import annotations

from fractions import Fraction


_MEASURES: dict[str, str] = {  # within a row, every factor is in the same base unit
    "seconds": "second 1 seconds 1 sec 1 minute 60 minutes 60 min 60 mins 60 hour 3600 hours 3600 hr 3600 hrs 3600 "
    "day 86400 days 86400 week 604800 weeks 604800 秒 1 分钟 60 小时 3600 天 86400 周 604800 星期 604800",
    "months": "month 1 months 1 year 12 years 12 decade 120 decades 120 个月 1 年 12",
    "millimetres": "mm 1 millimeter 1 millimeters 1 cm 10 centimeter 10 centimeters 10 meter 1000 meters 1000 "
    "metre 1000 metres 1000 km 1000000 kilometer 1000000 kilometers 1000000 毫米 1 厘米 10 分米 100 米 1000 千米 1000000",
    "inches": "inch 1 inches 1 foot 12 feet 12 ft 12 yard 36 yards 36 mile 63360 miles 63360",
    "grams": "gram 1 grams 1 kg 1000 kilogram 1000 kilograms 1000 克 1 千克 1000 公斤 1000 吨 1000000",
    "ounces": "ounce 1 ounces 1 oz 1 pound 16 pounds 16 lb 16 lbs 16 ton 32000 tons 32000",
    "millilitres": "ml 1 milliliter 1 milliliters 1 liter 1000 liters 1000 litre 1000 litres 1000 毫升 1 升 1000",
    "pints": "pint 1 pints 1 quart 2 quarts 2 gallon 8 gallons 8",
    "dollars": "dollar 1 dollars 1 cent 1/100 cents 1/100 ¢ 1/100 元 1 角 1/10 分 1/100",
    "pieces": "dozen 12 dozens 12 pair 2 pairs 2",
    "numbers": "hundred 100 thousand 1000 million 1000000 billion 1000000000 万 10000 亿 100000000",
}
FACTORS: dict[str, Fraction] = {
    word: Fraction(factor)
    for row in _MEASURES.values()
    for word, factor in zip(row.split()[::2], row.split()[1::2], strict=True)
}
CONVERSIONS = frozenset(
    map(
        Fraction, (2, 3, 4, 7, 8, 10, 12, 16, 24, 30, 36, 52, 60, 100, 365, 1000, 1440, 1760, 3600, 5280, 10000, 10**6)
    )
)
"""Ratios of two sides that a change of units may explain (365 days, 30 days a month, 1760 yards a mile among them)."""
