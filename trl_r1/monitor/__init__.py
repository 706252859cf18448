"""What to watch while a run trains, and when to shout: a callback for any TRL trainer, a page, and a terminal view.

callback   Monitor: measures, looks, tells
texts      completions -> distributions of thought length and steps, reflection words, language
drift      how far the policy is from where it started, where no reference model says so
signals    log lines -> series, trends
alarms     series -> findings with a sentence on what to do; ALARMS
charts     series -> SVG
page       a run folder -> one self-contained HTML file
terminal   a run folder -> a few lines of text

Belongs here: what is read from a run's logs and texts while it trains. Not: measuring on held-out problems
(``evaluation``). A new alarm is a function and one line in ``ALARMS`` of ``alarms.py``; a new chart one line in
``charts.py``.
"""

from trl_r1.monitor.alarms import ALARMS, AlarmThresholds, Finding
from trl_r1.monitor.callback import Monitor


__all__ = ["ALARMS", "Finding", "AlarmThresholds", "Monitor"]
