"""One attempt, stage after stage.

``stage``      what a stage is, what is known of an attempt, how it is stopped
``parts``      the ports that stages are bound to
``equipment``  the attempt's agent, and what that needs
``kept``       what of an attempt that ended is there to go on with
``recipes``    which stages, in which order
``processor``  runs a recipe
``failure``    errors and exits as facts of the task
``log``        an attempt's output: capped on disk, its tail in memory
``record``     an agent's events: capped on disk, as it gave them and in our words
``claims``     what an agent says of itself, as far as it can be stored
``stages``     one module per stage
"""
