"""The provider ``local``: the operator's waiver of isolation, with everything that a plain process can still keep.

``provider``      opens a sandbox, finds what a crash left, says whether it works here
``sandbox``       one attempt's sandbox: commands, files in and out
``channel``       the runner's end of the conversation with the supervisor
``supervisor``    a program of its own: owns the attempt's processes and its lease, and outlives the runner
``environment``   the environment of commands, from nothing
``bubblewrap``    what of the host is hidden and what can be written, where ``bwrap`` works
``leftovers``     what is left when runner and supervisor were both killed
"""
