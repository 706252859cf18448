"""Text: a completion as text: reply, reasoning and summary, writing systems, words, steps.

Belongs here: reading a text without judging it. Not: answers and scores. Imports no torch.
"""
