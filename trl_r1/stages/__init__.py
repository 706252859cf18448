"""The stages of DeepSeek-R1, one runnable module each: `python -m trl_r1.stages.<name> --config ...`.

Belongs here: what one stage does and no other. Not: what two share (``runs``), numbers (``recipes``) and mathematics.
A new stage is one file with ``main(argv)`` and one line in ``STAGES`` of ``cli.py``. Nothing imports this package;
stages are started by name.
"""
