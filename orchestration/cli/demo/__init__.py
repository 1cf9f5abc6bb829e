"""`taskq demo`: three real tasks on a small repository of its own.

``project``  the repository's files and the tasks: data
``play``     runs the demonstration on an `App` of its own, in a folder of its own
"""
