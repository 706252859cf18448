"""Text: a completion as text: reply, reasoning and summary, writing systems, words, steps.

Belongs here: reading a text without judging it. Not: answers and scores. Imports no torch.

A new language is an entry of ``LANGUAGES`` in ``scripts.py``; a field that every sample has is one in ``records.py``.
"""
