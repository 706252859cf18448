"""Commands: what one types after `trl-r1`, one file each; stages are started by name from ``cli``.

Belongs here: arguments of a command and the hand-over. Not: what the command does. A new command is one file here and
one line in ``cli.COMMANDS``. Nothing imports this package.
"""
