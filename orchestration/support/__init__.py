"""Clocks, files, processes, configuration, quantities: no task words.

``clock``        the system's clock
``config``       TOML files into one Settings value, each value with its origin
``files``        durable and link-safe file operations
``logs``         structlog for `run`
``paths``        where the queue, state, cache and configuration are
``processes``    who a process is, whether it lives, signals that cannot hit a stranger
``quantities``   durations, sizes and times as people write them
``signals``      Ctrl-C and SIGTERM as a call
``text``         making hostile text safe to show
``trees``        removing a folder that a hostile program could write
"""
