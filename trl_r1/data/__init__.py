"""Data: rows from anywhere in, prompts and rows to imitate out; filters, difficulty and checks of gold answers between.

columns          hub id, file, folder or mini: world -> rows -> named columns -> ``prompt`` and ``solution``
spec             where a dataset lies and what its columns are called, as one value
imitation        rows to imitate: prompts and completions for supervised tuning
filters          why a sample should not become training data
near_duplicates  nearly the same twice, 10-grams of evaluation sets, too much of one prompt
difficulty       a level from 1 to 6 for every problem, from how often it was solved
goldcheck        gold answers that cannot be used
exact_numbers    number columns that a table's reader would round
traces           reasonings whose steps a solver has checked
review           a file of samples that waits for a person

Belongs here: what is done to rows without a model. Not: drawing texts (``models``) and what one stage does with its rows
(``stages``). A new filter is a function and one line in ``FILTERS`` of ``filters.py``.
"""
