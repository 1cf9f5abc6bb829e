"""taskq: a queue for coding agents; every task in a sandbox of its own, checked, reviewed, never lost.

The layers, from the top; arrows only go down (``pyproject.toml``, section importlinter, checks them):

``taskq``        hands over to ``cli``
``cli``          parse, call one thing, print
``assembly``     the composition root: settings and names become working objects
``engine``       many tasks: choose, claim, run in a pool, recover
``pipeline``     one attempt, stage after stage
``adapters``     git, sandboxes, agents: one capability each
``store``        the queue on disk
``support``      clocks, files, processes, configuration: no task words
``core``         nouns, the status table, errors, events, ports: standard library only
"""
