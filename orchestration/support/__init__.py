"""Clocks, files, processes, configuration, quantities: no task words.

``clock``        the system's clock
``config``       TOML files into one Settings value, each value with its origin
``files``        durable and link-safe file operations
``lazy``         modules that are loaded when they are first used
``limits``       the limits of an attempt as people write them
``logs``         events for operators, through structlog
``mounts``       which file system a path is on; network file systems are refused for queues
``new_file``     a large file that comes to its name whole or not at all
``paths``        where the queue, state, cache and configuration are
``processes``    who a process is, whether it lives, signals that cannot hit a stranger
``quantities``   durations, sizes and times as people write them
``redaction``    secrets taken out of output while it streams
``secrets``      the operator's secrets on disk
``signals``      Ctrl-C and SIGTERM as a call
``text``         making hostile text safe to show
``toolchain``    ``.taskq.toml`` of a repository into a value
``trees``        removing a folder that a hostile program could write
"""
