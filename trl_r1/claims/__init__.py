"""Claims: is a stated step what it says? Arithmetic, algebra, plane geometry, formal statements and their replay.

Belongs here: parsing and checking of statements inside a reasoning. Not: final answers (``answers``) and scores
(``rewards``). A new kind of claim is one file that finds and checks it, and its line in ``find.py``. Imports no torch.
"""
