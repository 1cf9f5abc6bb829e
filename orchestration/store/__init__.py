"""The queue on disk: an append-only journal, the tasks in it, and the files beside it.

``layout``      what lies where in a queue, and making a new one
``values``      single values to plain JSON and back
``line``        one line of the journal: strict JSON with a checksum
``codec``       tasks to plain values and back
``fact_codec``  what is known of a task since it ran, likewise (loaded on use)
``attempt_codec``  the description of an attempt, likewise (loaded on use)
``blobs``       long texts beside the journal, by hash
``record``      what one line of the journal says, read as little as needed
``entry``       one task as its lines say
``tail``        the end of a journal, and what of it is no whole append
``skim``        lines of others, taken in without a look
``ledger``      all that a journal says up to one byte: an index, and the lines since
``standing``    what the tasks come to that have such lines
``upcoming``    what an index takes as ready
``index``       a cache of a journal in SQLite, which anybody may delete (loaded on use)
``index_head``  of which journal it speaks, and whether it may be believed
``scan``        a whole journal read at speed, for a new index (loaded on use)
``reader``      the journal as it is now, and when an index is worth its price
``lock``        the one lock of all writers, with the poison mark in it
``journal``     reading and appending, safely
``history``     what was moved out of the journal, kept
``decoder``     the lines of one task to a task
``tasks``       the TaskStore port on the journal
``snapshot``    the queue as a reader sees it, asked at every call (loaded on use)
``listing``     the lines of many tasks to what lists show (loaded on use)
``rules``       what the store refuses: duplicates, dependencies, transitions
``fsck``        finding damage and setting it aside
``artifacts``   what is kept of an attempt beside the journal
``task_files``  task files as people write them (loaded on use)
``draft_keys``  the keys of task files and what each becomes (loaded on use)
``front_matter``  the YAML of task files, kept as text (loaded on use)
``sweep``       one pass over a whole journal, for who needs no index (this and what follows: loaded on use)
``export``      tasks out of the queue, one JSON object per line
``arrivals``    such lines, and plain records, as tasks to be
``plain_records``  what becomes of the fields of a plain record
``named_texts``  the task files that plain records name
``adopt``       arrived tasks into the queue
``backup``      a whole queue into one file, at one moment
``restore``     and back
``backup_archive``  what such a file is, and reading it without trust
``compaction``  the journal written anew
``states``      what is written then instead of a task's lines
``new_journal``  a new journal beside the one that is there
``archive``     tasks that are over, moved into files in the history
``inspection``  every line judged, for ``fsck``
``index_check``  the index held against its journal, for ``fsck``

Small values of this layer are named tuples: a dataclass takes ten times as long to define, and every `taskq add` waits.
"""
