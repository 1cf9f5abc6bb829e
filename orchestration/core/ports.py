"""What the upper layers ask of stores and adapters, in domain words.

Each port has one behavioural suite in ``tests/contracts``, run against every implementation.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal, Protocol

from orchestration.core.agent_events import AgentEvent
from orchestration.core.attempts import AttemptFolders, AttemptResult, AttemptSpec
from orchestration.core.facts import Landed, Revision, SandboxFacts, Usage
from orchestration.core.models import Task
from orchestration.core.repository import RepositoryFacts
from orchestration.core.snapshot import Snapshot

# --- the queue ------------------------------------------------------------------------------------------------------


class TaskStore(Protocol):
    """The tasks, durable. A change that returned has survived power loss; one that raised has not happened.

    Raises, from every method: StorageError, CorruptStateError, NewerVersionError.
    """

    def read(self) -> Snapshot:
        """Return the queue as it is now; damage is reported in it, never raised."""
        ...

    def add(self, tasks: Sequence[Task], *, by: str) -> tuple[Task, ...]:
        """Add all of *tasks* or none, in one append; they come back with their rev.

        Raises: DuplicateTaskError, and UsageError for an ``after`` that names nothing or a cycle.
        """
        ...

    def change(self, identifier: str, how: Callable[[Task], Task], *, by: str) -> Task:
        """Replace the task by ``how(task)``; *how* runs under the lock, and what it raises changes nothing.

        Raises: TaskNotFoundError.
        """
        ...

    def claim(self, choose: Callable[[Snapshot], Task | None], how: Callable[[Task], Task], *, by: str) -> Task | None:
        """Replace the chosen task by ``how(task)`` in one step that no other claimer can come between."""
        ...

    def remove(self, identifier: str, check: Callable[[Task], None], *, by: str) -> Task:
        """Take the task out of the queue unless *check* raises. Its id may be used again; attempt numbers go on.

        Raises: TaskNotFoundError.
        """
        ...


class AttemptRecords(Protocol):
    """What is kept of an attempt beside the journal, as files that are written durably."""

    def folders(self, identifier: str, attempt: int) -> AttemptFolders:
        """Return where an attempt's folders are (they need not exist)."""
        ...

    def save_spec(self, spec: AttemptSpec) -> None:
        """Keep the attempt's description, once its workspace is complete: whoever finds it may collect its work."""
        ...

    def load_spec(self, identifier: str, attempt: int) -> AttemptSpec | None:
        """Return the attempt's description; None when it never got that far."""
        ...

    def save_result(self, result: AttemptResult, task: Task) -> AttemptResult:
        """Keep the result; for a failure write the report for people and return the result with its path in it."""
        ...

    def load_result(self, identifier: str, attempt: int) -> AttemptResult | None:
        """Return the attempt's result; None when there is none."""
        ...


# --- sandboxes ------------------------------------------------------------------------------------------------------

Stream = Literal["stdout", "stderr"]
Output = Callable[[Stream, bytes], None]
"""Takes what a command writes, as it comes; called from one thread at a time per command."""


def discard_output(_stream: Stream, _chunk: bytes) -> None:
    """Take output and forget it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command for a sandbox. *argv* is never a shell's string; *env* is added to the sandbox's own."""

    argv: tuple[str, ...]
    timeout: timedelta
    stdin: bytes = b""
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """How a command ended, as observed. Exactly one of *code* and *signal* is set, unless nothing is known."""

    code: int | None
    signal: int | None = None
    timed_out: bool = False
    stopped: bool = False
    elapsed: timedelta = timedelta(0)

    @property
    def succeeded(self) -> bool:
        """Whether the command ended by itself with code 0."""
        return self.code == 0 and not self.timed_out and not self.stopped


class Service(Protocol):
    """A program that runs in a sandbox beside its commands."""

    @property
    def exit(self) -> Exit | None:
        """How it ended; None while it runs."""
        ...

    def stop(self) -> Exit:
        """End it with all that it started, and return how it ended; again is no error."""
        ...


class Connection(Protocol):
    """A stream of bytes to a port inside a sandbox. Whoever opened it closes it."""

    def send(self, content: bytes) -> None:
        """Send all of *content*. Raises: OSError when the other side is gone."""
        ...

    def receive(self) -> bytes:
        """Wait for bytes and return what came; none at the end. Raises: OSError when the other side is gone."""
        ...

    def close(self) -> None:
        """End it, from any thread, any number of times: a `send` or `receive` that waits returns or raises."""
        ...


class Services(Protocol):
    """What goes on in a sandbox beside its commands. All of it ends with the sandbox, and when that is stopped."""

    def start(self, command: Command, output: Output = discard_output) -> Service:
        """Start a program that goes on until it is stopped; its time limit counts as any command's.

        Raises: SandboxError.
        """
        ...

    def connect(self, port: int) -> Connection:
        """Return a connection to *port* of the sandbox's own loopback address.

        Nobody listening there shows as a connection that ends at once. Raises: SandboxError.
        """
        ...

    def interact(self, command: Command, *, stdin: int, stdout: int) -> Exit:
        """Run *command* on a terminal of its own in the sandbox, joined to the caller's, which the descriptors name.

        The caller's terminal is raw meanwhile, and as it was afterwards; its size is followed. Raises: SandboxError.
        """
        ...


class Sandbox(Protocol):
    """Where an attempt's commands run, one command at a time, in the attempt's workspace."""

    @property
    def facts(self) -> SandboxFacts:
        """What is known of this sandbox by now."""
        ...

    @property
    def services(self) -> Services | None:
        """What can go on beside commands; None where this kind of sandbox has no such thing."""
        ...

    def run(self, command: Command, output: Output = discard_output) -> Exit:
        """Run *command* to its end; when this returns, no process that it started is left.

        Raises: SandboxError when the sandbox is gone.
        """
        ...

    def send(self, name: str, content: bytes) -> str:
        """Put a file into the attempt's read-only config folder; return its path as seen inside."""
        ...

    def fetch(self, name: str, to: Path, *, limit: int) -> None:
        """Copy the regular file *name* of the out folder to the new host file *to*, without following links.

        Raises: WorkFailedError when there is none, it is no regular file or is larger than *limit* bytes.
        """
        ...

    def archive(self, to: Path, *, limit: int, files: int) -> None:
        """Write the workspace as a tar to the new host file *to*, for when the workspace's git is broken.

        Regular files and symbolic links (as links) only; no path component that git would take for ``.git``.
        Raises: WorkFailedError past *limit* bytes or *files* files.
        """
        ...

    def stop(self) -> None:
        """End whatever runs now, from any thread; its `run` returns with ``stopped``. Later runs refuse."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What `taskq doctor` says of one part. *remedy* is what would help when it is not *usable*."""

    name: str
    usable: bool
    detail: str
    remedy: str | None = None


class BaseTree(Protocol):
    """The files of an attempt's base commit, read from objects: nothing that an agent of this attempt wrote."""

    def read(self, path: str, *, limit: int) -> bytes | None:
        """Return the content of the regular file *path*; None when there is none. Raises: RepositoryError."""
        ...

    def blobs(self) -> Mapping[str, str]:
        """Return every file's path with the hash of its content."""
        ...

    def export(self, to: Path) -> None:
        """Write all files as a tar to the new host file *to*."""
        ...


class SandboxProvider(Protocol):
    """Opens sandboxes of one kind and always gives their resources back."""

    def prepare(
        self, spec: AttemptSpec, tree: BaseTree, output: Output, *, is_stopped: Callable[[], bool]
    ) -> str | None:
        """Make ready what the attempt's sandbox starts from, and return its id; None where there is nothing to make.

        What is built says so to *output* while it is. Again, with nothing changed, is quick. Once *is_stopped* says so,
        it ends soon.
        Raises: SandboxError (``sandbox_stopped``), WorkFailedError when the repository's own build or setup fails.
        """
        ...

    def open(self, spec: AttemptSpec, folders: AttemptFolders, *, lease: int) -> AbstractContextManager[Sandbox]:
        """Start a sandbox for the attempt; leaving the block ends every process in it.

        *lease* is a descriptor of the attempt's locked lease file: whatever outlives the caller holds it too, so that
        the lock is free exactly when nothing of the attempt runs any more.
        Raises: SandboxError.
        """
        ...

    def reap(self, labels: Mapping[str, str]) -> int:
        """End what a crash left of the attempt with *labels* (or, with fewer labels, of its task or queue).

        Returns how many things were ended; when it returns, they are gone.
        """
        ...

    def check(self) -> Health:
        """Say whether this kind of sandbox can be opened here."""
        ...


# --- agents ---------------------------------------------------------------------------------------------------------


class AgentRecord(Protocol):
    """What is kept of an agent's structured output, beside what people read: without secrets, and capped."""

    def raw(self, line: bytes) -> None:
        """Keep one raw event as the agent gave it, without its line's end."""
        ...

    def event(self, event: AgentEvent) -> None:
        """Keep one event in our words."""
        ...


class NoRecord:
    """An `AgentRecord` that keeps nothing."""

    def raw(self, line: bytes) -> None:
        """Forget it."""

    def event(self, event: AgentEvent) -> None:
        """Forget it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentNeeds:
    """What an agent needs from outside its sandbox, as the operator set it up.

    *allow* and *allow_private* are hosts as in `AttemptSpec`; *secrets* are names with values that must not be seen.
    """

    allow: tuple[str, ...] = ()
    allow_private: tuple[str, ...] = ()
    secrets: tuple[tuple[str, bytes], ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentJob:
    """What an agent is to do. *plan* is what the plan stage brought, when there was one.

    *session* is the agent's session to go on with: the plan stage's, or one of a try before.
    """

    spec: AttemptSpec
    folders: AttemptFolders
    timeout: timedelta
    plan: str | None = None
    session: str | None = None
    record: AgentRecord = field(default_factory=NoRecord)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentResult:
    """What was observed of an agent. *problem* is None exactly when it succeeded; *code* names the problem."""

    exit: Exit
    command: str
    problem: str | None = None
    code: str | None = None
    plan: str | None = None
    session: str | None = None
    usage: Usage | None = None
    retry_at: datetime | None = None
    """When a provider that refused for now says that it may be asked again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentServer:
    """An agent's own server in a sandbox, on *port* of its loopback address, open to whoever has the password.

    *page* is the path of the page that shows the attempt's session; *attach* joins it on a terminal in the sandbox.
    """

    port: int
    user: str
    password: str = field(repr=False)
    page: str
    attach: Command


class Agent(Protocol):
    """The program that does the work, inside a sandbox. One object serves one attempt, stage after stage."""

    def needs(self, spec: AttemptSpec) -> AgentNeeds:
        """Return what must be there before the sandbox is opened. Raises: UsageError."""
        ...

    def plan(self, sandbox: Sandbox, job: AgentJob, output: Output) -> AgentResult | None:
        """Let the agent plan; None when this agent has no such step."""
        ...

    def build(self, sandbox: Sandbox, job: AgentJob, output: Output) -> AgentResult:
        """Let the agent work. A failed agent is a result; SandboxError is for a sandbox that is gone.

        When this returns, nothing of the agent runs any more.
        """
        ...

    def serve(self, sandbox: Sandbox, job: AgentJob, output: Output) -> AbstractContextManager[AgentServer] | None:
        """Open the session of *job* for a person while the block lasts; None when this agent has no such thing.

        Raises, on entering: SandboxError, WorkFailedError when the server does not start.
        """
        ...


# --- git ------------------------------------------------------------------------------------------------------------


Leaks = Callable[[bytes], str | None]
"""Returns the name of the secret that a content holds, if any."""


class Workspace(Protocol):
    """The agent's side of git: a private clone, and what comes out of it.

    Guarantees: no git process of the host ever reads what an agent could have written, but as a bundle in quarantine.
    """

    def prepare(self, spec: AttemptSpec, folders: AttemptFolders) -> None:
        """Pin the base, bring the cache up to date and make the workspace, afresh; safe to run again.

        Raises: RepositoryError, GitError.
        """
        ...

    def base(self, spec: AttemptSpec) -> BaseTree:
        """Return the files of the base commit, once it is pinned."""
        ...

    def collect_command(self, spec: AttemptSpec) -> tuple[str, ...]:
        """Return what to run in the sandbox: it commits what is left and writes ``work.bundle`` to the out folder."""
        ...

    def accept_bundle(
        self, spec: AttemptSpec, folders: AttemptFolders, bundle: Path, *, leaks: Leaks | None = None
    ) -> Revision | None:
        """Check a fetched bundle as hostile input and put it under our ref; None when nothing was changed.

        Raises: WorkFailedError (codes ``bad_bundle``, ``unsafe_tree``, ``secret_in_work``) and then no object of it is
        in the repository.
        """
        ...

    def accept_archive(
        self, spec: AttemptSpec, folders: AttemptFolders, archive: Path, *, leaks: Leaks | None = None
    ) -> Revision | None:
        """The same for a tar of the workspace, from `Sandbox.archive`; one commit on the attempt's start is made."""
        ...


class Repository(Protocol):
    """The operator's side of git: branch, worktree, diff, landing. Touches nothing else of the operator's."""

    def inspect(self, repo: Path, base: str, branch: str | None) -> RepositoryFacts:
        """Look at a repository with one plain git process (quick enough for `taskq add`).

        Raises: RepositoryError: no repository, no such base, *branch* is checked out in some worktree.
        """
        ...

    def publish(self, task: Task, revision: Revision) -> Revision:
        """Move the task's branch from our last tip to the revision, and make or update the worktree.

        Where a person has changed either, neither is touched and the revision comes back with ``published`` False.
        """
        ...

    def diff(self, revision: Revision, repo: Path, *, stat: bool = False, binary: bool = False) -> Iterable[bytes]:
        """Yield the diff from the revision's base to its commit, rendered from objects.

        With *binary* it holds all of binary files too, so that it can be applied.
        """
        ...

    def land(self, task: Task, revision: Revision, *, at: datetime) -> Landed:
        """Fast-forward the base to the revision by compare-and-swap; a clean checkout of it is brought along.

        Raises: RepositoryError (not a fast-forward, base is no local branch), BusyError (checkout is dirty).
        """
        ...

    def preserve(self, task: Task) -> str | None:
        """Keep what a person changed in the task's worktree or branch under a keep ref, checked.

        Returns the commit that holds it, also when it was kept before; None when a person changed nothing.
        Raises: GitError when it could not be kept; then nothing may be destroyed.
        """
        ...


class Disposal(Protocol):
    """Takes away what taskq made in a repository, only what is preserved, and only what is ours."""

    def remove_worktree(self, task: Task) -> bool:
        """Remove the task's worktree; False when there is none. Raises BusyError when it is not ours or locked."""
        ...

    def remove_branch(self, task: Task) -> bool:
        """Remove the task's branch if it is merged into its base; False when it was kept or is not there."""
        ...


# --- time -----------------------------------------------------------------------------------------------------------


class Clock(Protocol):
    """Where times come from."""

    def now(self) -> datetime:
        """Return the time as an aware UTC value."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never jump."""
        ...
