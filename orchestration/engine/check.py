"""One command on one commit of a task, in a sandbox of its own that the agent never saw.

Not responsible for: what the command's output means; the exit is what was observed.
"""

from dataclasses import replace
from datetime import timedelta

from orchestration.core.attempts import AttemptFolders
from orchestration.core.errors import UsageError
from orchestration.core.models import Task
from orchestration.core.ports import Command, Exit, Output
from orchestration.engine.lease import hold
from orchestration.pipeline.parts import Parts
from orchestration.support.files import make_private_folder
from orchestration.support.trees import remove_tree


def run_on_commit(
    task: Task, commit: str, argv: tuple[str, ...], *, parts: Parts, timeout: timedelta, output: Output
) -> Exit:
    """Run *argv* on a fresh checkout of *commit*, which is the task's base or its revision; leave nothing behind.

    Raises: UsageError when the task was never run, BusyError while another check of it runs.
    """
    spec = parts.records.load_spec(task.id, task.attempt)
    if spec is None:
        raise UsageError(f"task {task.id} was never run, so there is nothing to check", code="no_attempt")
    folders = AttemptFolders(root=parts.records.folders(task.id, task.attempt).root / "verify")
    fresh = replace(spec, start_commit=commit)
    make_private_folder(folders.root)
    with hold(folders.lease) as lease:
        try:
            parts.workspace.prepare(fresh, folders)
            with parts.provider(spec.sandbox).open(fresh, folders, lease=lease) as sandbox:
                return sandbox.run(Command(argv=argv, timeout=timeout), output)
        finally:
            remove_tree(folders.root)
