"""The lines of one task to a task value, its long texts in their places."""

from typing import Any

from orchestration.core.errors import CorruptStateError
from orchestration.core.models import Task
from orchestration.store.blobs import Blobs, referred_blob
from orchestration.store.codec import decode_task
from orchestration.store.entry import Entry
from orchestration.store.line import BadRecordError


class TaskDecoder:
    """Decodes entries, each once, with the long texts that are in *blobs*."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    def task(self, entry: Entry) -> Task:
        """Return the task. Raises: CorruptStateError when a line or a blob cannot be read."""
        if entry.task is None or entry.fault is not None:
            entry.task = decode_task(self._blobs.expand(all_fields(entry)))
            entry.fault = None
        return entry.task

    def shown(self, entry: Entry) -> Task | None:
        """Return the task for reading: without a long text that is gone, None when a line is; then *fault* says why."""
        try:
            return self.task(entry)
        except CorruptStateError as error:
            entry.fault = str(error)
            entry.task = None if error.code == "damaged" else self.without_blobs(entry)
        return entry.task

    def without_blobs(self, entry: Entry) -> Task:
        """Return the task without its long texts. Raises: CorruptStateError."""
        fields = all_fields(entry).items()
        return decode_task({name: value for name, value in fields if referred_blob(value) is None})


def all_fields(entry: Entry) -> dict[str, Any]:
    """Return all fields of the task and its id. Raises: CorruptStateError."""
    try:
        return {**entry.fields(), "id": entry.id}
    except BadRecordError as error:
        raise CorruptStateError(f"task {entry.id} cannot be read: {error}; see: taskq fsck") from error
