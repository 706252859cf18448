"""Chat requests of our own: what people write to an assistant when there is nothing to be voted on.

    from chat_requests import chat_requests
    chat_requests()     # 240 conversations: 24 ways of asking x 10 topics

Greetings, facts, poems, letters, plans, code, translations, lists of five: some hold numbers, some ask a question, some are
a second turn. None asks for a final answer that could be checked.
"""

from __future__ import annotations

from typing import Any


TOPICS = (
    ("the sea", "Germany", "my landlord", "Spanish", "a bicycle pump"),
    ("a lighthouse", "Japan", "my old teacher", "French", "a coffee grinder"),
    ("autumn rain", "Kenya", "a new neighbour", "Italian", "a sewing machine"),
    ("a night train", "Peru", "my manager", "Portuguese", "a camping stove"),
    ("winter markets", "Canada", "the school office", "Dutch", "a desk lamp"),
    ("two stray cats", "Egypt", "my grandmother", "Swedish", "a water filter"),
    ("an empty theatre", "Norway", "a job applicant", "Polish", "a bread knife"),
    ("the first snow", "Brazil", "the city council", "Turkish", "a rain jacket"),
    ("a broken clock", "Vietnam", "my flatmates", "Greek", "a solar charger"),
    ("wild garlic", "Iceland", "a wedding guest", "Danish", "a piano stool"),
)
"""A thing to write about, a country, somebody to write to, a language, an article of commerce."""

FORMS = (
    "Hello! How are you today?\nI was just thinking about {thing}.",
    "Good morning, can you help me with something about {country}?",
    "What is the capital of {country}?",
    "Write a two-line poem about {thing}.",
    "Write a short story that begins with {thing} and ends with a laugh.",
    "Explain in simple words why people travel to {country}.",
    "Write a polite e-mail to {person}: I will be 20 minutes late on Monday.",
    "Give me five ideas for a birthday party with the motto {thing}.",
    'How do you say "see you tomorrow" in {language}?',
    "Translate into {language}: The shop opens at 9 and closes at 18:30.",
    "What should I look for when I buy {article}?",
    "Plan a 3-day trip to {country} for 2 adults and 1 child.",
    "Which is better for a beginner, {language} or English? Give reasons.",
    "Tell me a joke about {thing}.",
    "Summarise this: {thing} was in the news again. The mayor said nothing, and 200 people came anyway.",
    "I feel a little lonely since I moved to {country}. Any advice?",
    "Write a Python function that prints a line about {article}.",
    "Describe {thing} as a painter would see it.",
    "Write a product text of about 50 words for {article}.",
    "Who are some famous writers from {country}?",
    "What do you think about {thing}?",
    "Make a list of words in {language} that a tourist needs.",
    "Rewrite this so that it sounds friendlier to {person}: Your answer came too late.",
    "\0Thanks! Now shorter, please, and with {article} in it.",  # a second turn, after a text on the thing
)


def chat_requests(count: int | None = None) -> list[list[dict[str, Any]]]:
    """The conversations, topics mixed so that the first few hold every way of asking.

    Args:
        count: only so many; None for all of them.
    """
    conversations = []
    for shift in range(len(TOPICS)):
        for number, form in enumerate(FORMS):
            names = dict(
                zip(("thing", "country", "person", "language", "article"), TOPICS[(number + shift) % 10], strict=True)
            )
            text = form.format(**names)
            turns = [{"role": "user", "content": text.lstrip("\0")}]
            if text.startswith("\0"):
                first = {"role": "user", "content": f"Write something nice about {names['thing']}."}
                turns = [first, {"role": "assistant", "content": f"There is nothing like {names['thing']}."}, *turns]
            conversations.append(turns)
    return conversations[:count]
