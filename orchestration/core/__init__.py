"""The nouns of taskq and their rules; imports nothing but the standard library.

``status``    the eight statuses and the one table of transitions
``models``    task, attempt, revision, limits: frozen values
``naming``    ids, branches, refs, folders: pure rules
``errors``    one tree of errors, sorted by what to do next
``events``    what a run tells those who watch it
``ports``     what the upper layers ask of adapters and stores
``settings``  the configuration as a typed value
``transfers`` what is told of exports, imports, backups and restores
"""
