"""Many tasks: take them in, choose, claim, run in a pool, settle, recover, and what an operator does with them.

``intake``    what was said of a task becomes a task, or an error
``defaults``  what the settings say for a task that comes without it
``choose``    which task is next, and why the others wait: pure
``lease``     the lock that says that an attempt is held
``worker``    one attempt of one claimed task, from its lease to its settlement
``pool``      a rolling pool of workers, and how it winds down
``story``     a run told as log events
``recover``   tasks whose runner is gone
``operate``   approve, retry, cancel, remove
``clean``     what cleanup takes away, and what it keeps
"""
