"""Commands inside a sandbox that is a container or a machine of its own: a small program there, our end here.

``taskq-guest.c``  the program, in C: runs commands and ends their trees (``serve``), keeps a sandbox alive (``hold``),
                   reaches its ports (``dial``)
``protocol``       what host and guest say to each other, as bytes; pure
``session``        the host's end of one conversation: runs commands over any stream of bytes
``terminal``       a person's terminal, joined to a program there
``deadline``       ends the wait for a guest that does not answer
"""
