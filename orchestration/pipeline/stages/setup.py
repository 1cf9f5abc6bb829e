"""Setup: resolve the base, make the workspace (or go on in the one that there is), open the sandbox."""

from dataclasses import replace
from pathlib import Path

from orchestration.core.attempts import AttemptSpec
from orchestration.core.errors import BusyError
from orchestration.core.events import Observer, SandboxOpened
from orchestration.core.models import Task
from orchestration.core.ports import AttemptRecords, BaseTree, Repository, Workspace, discard_output
from orchestration.core.toolchain import TOOLCHAIN_FILE, Toolchain
from orchestration.pipeline.room import Room
from orchestration.pipeline.stage import Attempt, OpenLog
from orchestration.pipeline.stages.resume import resume
from orchestration.support.toolchain import TOOLCHAIN_LIMIT, parse_toolchain


def setup(
    attempt: Attempt,
    *,
    workspace: Workspace,
    repository: Repository,
    records: AttemptRecords,
    room: Room,
    dirty_run: bool,
    log_of: OpenLog,
    observe: Observer,
) -> Attempt:
    """Return the attempt with its base resolved, its workspace made and its sandbox open."""
    if attempt.is_resumed:
        attempt = resume(attempt, repository=repository, records=records)
    else:
        attempt = _based(attempt, repository=repository, dirty_run=dirty_run)
    if attempt.is_resumed or dirty_run:
        room.end_leftovers(attempt.spec)
    if not attempt.is_resumed:
        workspace.prepare(attempt.spec, attempt.folders)
    tree = workspace.base(attempt.spec)
    attempt = replace(attempt, spec=replace(attempt.spec, toolchain=_toolchain(attempt.spec, tree)))
    spec = replace(attempt.spec, image=_image(attempt, tree, room=room, log_of=log_of))
    attempt.folders.result.unlink(missing_ok=True)  # what it says is collected is not all that there will be
    records.save_spec(spec)  # whoever finds it may collect: from here on the workspace is complete
    opened = room.enter(spec).facts
    observe(SandboxOpened(task=attempt.task, facts=opened))
    return replace(attempt, spec=spec, prepared=True, collected=False, sandbox=opened)


def _based(attempt: Attempt, *, repository: Repository, dirty_run: bool) -> Attempt:
    """Return the attempt with the commits that it is about and starts from."""
    facts = repository.inspect(Path(attempt.task.repo), attempt.task.base, None)
    start = _start(attempt.task, facts.base_commit, repository=repository, dirty_run=dirty_run)
    return replace(attempt, spec=replace(attempt.spec, base_commit=facts.base_commit, start_commit=start))


def _toolchain(spec: AttemptSpec, tree: BaseTree) -> Toolchain:
    """Return what the base commit says of its surroundings; what an agent changes there counts once it has landed."""
    content = tree.read(TOOLCHAIN_FILE, limit=TOOLCHAIN_LIMIT)
    return Toolchain() if content is None else parse_toolchain(content, where=f"{TOOLCHAIN_FILE} of {spec.base}")


def _image(attempt: Attempt, tree: BaseTree, *, room: Room, log_of: OpenLog) -> str | None:
    """Return the image to start from; where the repository wants one made, that is in the log."""
    spec = attempt.spec
    if spec.toolchain == Toolchain():
        return room.prepare(spec, tree, discard_output)
    with log_of(attempt, "setup") as log:
        return room.prepare(spec, tree, log.write)


def _start(task: Task, base_commit: str, *, repository: Repository, dirty_run: bool) -> str:
    """Return the commit to start from; what a person changed in the worktree is kept under a ref first."""
    if task.revision is None:
        return base_commit
    kept = repository.preserve(task)
    if dirty_run:
        return kept or task.revision.commit
    if kept is not None:
        message = (
            f"the worktree or branch of {task.id} was changed by hand (kept as {kept[:12]}); "
            f"start from it with: taskq run --id {task.id} --dirty-run"
        )
        raise BusyError(message, code="dirty_worktree")
    return base_commit
