"""Agents: the programs that do the work, each one file.

``command``    any shell command
``scripted``   a fake for tests and demos, told what to do by the task's text
``oracle``     applies a given patch or script
``judgement``  what an exit means: the problem and its code
"""
