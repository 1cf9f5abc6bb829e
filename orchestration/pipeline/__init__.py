"""One attempt, stage after stage.

``stage``      what a stage is, what is known of an attempt, how it is stopped
``parts``      the ports that stages are bound to
``recipes``    which stages, in which order
``processor``  runs a recipe
``failure``    errors and exits as facts of the task
``log``        an attempt's output: capped on disk, its tail in memory
``stages``     one module per stage
"""
