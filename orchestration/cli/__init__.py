"""The command line: parse, call one thing on ``assembly.App``, print. No decisions.

``main``      the entry point: the commands, loaded on use, and the one place where errors become exit codes
``options``   what several commands share
``output``    plain lines and JSON
``render``    tables and live progress for people; the only user of rich
``tally``     a count for who waits at a terminal
``commands``  one module per command
"""
