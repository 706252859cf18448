"""Answers: find the final answer in a reply, read its notation, and say whether two answers are equal.

Belongs here: extraction, notation, units, declared types, the verdict. Not: scores (``rewards``) and checked reasoning
steps (``claims``). A new answer type is a class in ``types.py`` or ``forms.py`` and its line there. Imports no torch.
"""
