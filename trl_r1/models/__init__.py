"""Models: from a name to a model and from prompts to texts: loading, adapters, templates, engines, judges.

Belongs here: everything that holds a model or asks one, in process or over HTTP. Not: what is done with the texts. A
new prompt template is an entry of ``TEMPLATES`` in ``templates.py``. A family of chat templates needs no code:
``rendering`` learns its marks by asking it, and what it must say is a file in ``benchmarks/templates_expected``. A
new engine is one class in ``engines.py`` or a file beside it, and its line in ``make_engine`` of
``stages/rejection_sampling/make.py``.
"""
