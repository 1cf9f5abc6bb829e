"""A canary among the secrets: the agent that may use it reads it, and nothing that is kept or shown holds it."""

import base64
import json
import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from secrets import token_hex
from urllib.parse import quote

import pytest

from tests.journeys.containers import AWAIT_GATE, OWN, Docked, all_arguments, all_environments, docked, holders
from tests.journeys.opencode_desk import HOLD, Desk, desk
from tests.journeys.test_interruptions import running
from tests.journeys.waiting import wait_until
from tests.model.replies import Asked, Call, Hang, Reply, Say, do_as_told, is_planning
from tests.model.server import config

__all__ = ["desk", "docked"]
pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]
HOLDS = '[ "$(wc -c < "$TASKQ_SECRETS/CANARY")" -gt 40 ] || exit 9'
"""The agent's own control: the secret is there."""
TELL = r"""
f=$TASKQ_SECRETS/CANARY
cat $f; echo; cat $f >&2; echo >&2
base64 -w0 $f; echo; (printf 'Basic user:'; cat $f) | base64 -w0; echo
od -An -v -tx1 $f | tr -d ' \n'; echo
perl -0777 -pe 's/([^A-Za-z0-9_.~-])/sprintf("%%%02X", ord $1)/ge' $f; echo
node -e 'console.log(JSON.stringify({key: require("fs").readFileSync(process.env.TASKQ_SECRETS + "/CANARY", "utf8")}))'
head -c 30 $f; echo half >&2
"""
"""In the usual spellings, and the start of it in a write of its own; TELL_REST is the other half."""
TELL_REST = 'tail -c +31 "$TASKQ_SECRETS/CANARY"; echo; echo told; echo work > work.txt'


@dataclass(frozen=True)
class Canary:
    """A secret's value, and how to look for it."""

    value: str

    @property
    def spellings(self) -> tuple[bytes, ...]:
        """Return what of the value tells it; its halves are random by themselves."""
        raw = self.value.encode()
        shifted = base64.b64encode(b"Basic user:" + raw)[20:-4]
        halves = [half.encode() for half in self.value.split("/+ ")]
        return (*halves, raw.hex().encode(), quote(self.value, "").encode(), base64.b64encode(raw)[:-4], shifted)

    def is_in(self, content: bytes) -> bool:
        return any(spelling in content for spelling in self.spellings)

    def files(self, folders: Iterable[Path]) -> list[Path]:
        """Return the files that hold it as they are."""
        inside = (path for folder in folders for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
        return [path for path in inside if self.is_in(path.read_bytes())]

    def stores(self, folders: Iterable[Path]) -> list[Path]:
        """Return the git dirs that hold it in any object, reached or not."""
        return [store for folder in folders for store in git_dirs(folder) if self.is_in(objects(store))]


def git_dirs(folder: Path) -> Iterator[Path]:
    return (head.parent for head in folder.rglob("HEAD") if (head.parent / "objects").is_dir())


def objects(git_dir: Path) -> bytes:
    """Return every object, those that the store borrows included."""
    place = (f"--git-dir={git_dir}", f"--work-tree={git_dir}")  # the one that it names may be inside of a sandbox
    command = ["git", *place, "cat-file", "--batch-all-objects", "--batch", "--unordered"]
    return subprocess.run(command, capture_output=True, check=True, timeout=60).stdout


@pytest.fixture
def canary(docked: Docked) -> Canary:
    """A secret that the operator has set and the repository names."""
    made = Canary(f"{token_hex(20)}/+ {token_hex(20)}")
    docked.taskq.run("secret", "set", "CANARY", text=f"{made.value}\n")
    docked.say('secrets = ["CANARY"]\n')
    return made


def everything(docked: Docked) -> list[Path]:
    """Return every folder of this journey but the one that keeps secrets: queue, HOME, repository, worktrees."""
    top = docked.repo.path.parent
    home = Path(docked.taskq.environment["HOME"])
    config = home / ".config"
    return [
        *(path for path in top.iterdir() if path != home),
        *(path for path in home.iterdir() if path != config),
        *(path for path in (config / "taskq").iterdir() if path.name != "secrets"),
    ]


@pytest.mark.parametrize("form", ["--follow", "--json"])
@pytest.mark.parametrize("ending", ["exit 0", "exit 3"])
def test_what_an_agent_prints_in_any_usual_spelling_is_kept_and_shown_nowhere(
    docked: Docked, canary: Canary, form: str, ending: str
) -> None:
    docked.add(f"{HOLDS}\n{TELL}\n{AWAIT_GATE}\n{TELL_REST}\n{ending}")
    with running(docked.taskq, "run", form) as runner:
        log = build_log(docked)
        wait_until(lambda: b"half\n" in log(), what="the agent has told all but the last half")
        container = docked.task()["run"]["observed"]
        inspected = json.dumps(docked.engine.api.inspect_container(container["id"]))
        said = docked.engine.api.logs(container["id"])
        arguments, environments = all_arguments(), all_environments()
        docked.open_gate()
        shown, logged = runner.communicate(timeout=100)
    assert b"TASKQ_OUT/gate" in arguments, "the control: the agent's own arguments were looked at"
    assert b"TASKQ_SECRETS=/taskq/secrets" in environments, "the control: so was its environment"
    history = json.dumps(docked.engine.api.history(container["image"]))

    if form == "--json":
        chunks = [event["base64"] for event in map(json.loads, shown.splitlines()) if event["event"] == "output"]
        shown = b"".join(map(base64.b64decode, chunks)).decode()
    assert "told" in shown
    assert shown.count("[secret CANARY]") >= 7
    brief = docked.taskq.run("review", OWN).stdout if ending == "exit 0" else ""
    seen = {
        "run": shown,
        "stderr": logged,
        "inspect": inspected,
        "container log": said.decode(),
        "image history": history,
        "show": docked.taskq.run("show", OWN).stdout,
        "show --json": docked.taskq.run("show", OWN, "--json").stdout,
        "review": brief,
        "logs": docked.taskq.run("logs", OWN).stdout,
        "secret list": docked.taskq.run("secret", "list").stdout,
    }
    assert [name for name, text in seen.items() if canary.is_in(text.encode())] == []
    assert "[secret CANARY]" in seen["logs"]
    assert "CANARY" in seen["secret list"]
    assert not canary.is_in(arguments)
    assert not canary.is_in(environments)
    task = docked.task()
    assert task["status"] == ("review" if ending == "exit 0" else "failed")
    assert canary.files(everything(docked)) == []
    assert canary.stores(everything(docked)) == []
    bundle = docked.folder() / "inbox/work.bundle"
    assert not canary.is_in(objects(unbundled(docked, bundle)))


def build_log(docked: Docked) -> Callable[[], bytes]:
    """Return what reads the log of the build, empty until there is one."""

    def read() -> bytes:
        run = docked.task()["run"]
        path = Path(run["folder"]) / "logs/build.log" if run is not None else None
        return path.read_bytes() if path is not None and path.is_file() else b""

    return read


def unbundled(docked: Docked, bundle: Path) -> Path:
    """Return a repository with what was taken out of the sandbox, as it came."""
    repository = docked.repo.path.parent / "unbundled.git"
    docked.repo.git("clone", "--quiet", "--bare", str(docked.repo.path), str(repository))
    docked.repo.git("--git-dir", str(repository), "fetch", "--quiet", str(bundle), "HEAD")
    assert "work.txt" in docked.repo.git("--git-dir", str(repository), "ls-tree", "--name-only", "FETCH_HEAD")
    return repository


def test_the_search_finds_what_an_agent_writes_into_a_file_that_is_not_collected(
    docked: Docked, canary: Canary
) -> None:
    """The control of every search, in each spelling that is looked for."""
    docked.add(f"({TELL}) > ignored.log 2>&1; echo work > work.txt")
    docked.taskq.run("run")
    found = docked.folder() / "workspace/ignored.log"
    assert canary.files(everything(docked)) == [found]
    content = found.read_bytes()
    assert [spelling for spelling in canary.spellings if spelling not in content] == []
    assert canary.stores(everything(docked)) == []


LEAKS = {
    "a file": "cat $TASKQ_SECRETS/CANARY > leak.txt",
    "a file, encoded": "base64 -w0 $TASKQ_SECRETS/CANARY > leak.txt",
    "a file that was removed again": (
        "cat $TASKQ_SECRETS/CANARY > leak.txt; git add -A; git commit -qm one; git rm -q leak.txt; echo x > work.txt"
    ),
    "a commit message": 'echo x > work.txt; git add -A; git commit -qm "$(cat $TASKQ_SECRETS/CANARY)"',
    "the name of an author": (
        'echo x > work.txt; git add -A; git commit -qm one --author "$(cat $TASKQ_SECRETS/CANARY) <a@b.invalid>"'
    ),
    "a link": 'ln -s "$(head -c 40 $TASKQ_SECRETS/CANARY; tail -c +41 $TASKQ_SECRETS/CANARY)" link',
}


@pytest.mark.parametrize("leak", LEAKS.values(), ids=[name.replace(" ", "-") for name in LEAKS])
def test_work_that_holds_a_secret_fails_the_task_and_never_reaches_the_repository(
    docked: Docked, canary: Canary, leak: str
) -> None:
    refs = docked.repo.git("for-each-ref", "refs/heads", "refs/tags")
    docked.add(f"{HOLDS}; {leak}")
    docked.taskq.run("run", code=1)
    task = docked.task()
    assert (task["status"], task["revision"]) == ("failed", None)
    assert (task["error"]["stage"], task["error"]["code"]) == ("collect", "secret_in_work")
    assert "CANARY" in task["error"]["message"]
    ours = docked.repo.git("for-each-ref", "--format=%(refname)", "refs/taskq").splitlines()
    assert [ref for ref in ours if "/base/" not in ref] == []
    assert docked.repo.git("for-each-ref", "refs/heads", "refs/tags") == refs
    agents_own = docked.folder()
    assert canary.stores(everything(docked)) == [agents_own / "git"], "there alone, and there the search finds it"
    elsewhere = {"workspace", "git", "out", "data"}
    assert [
        path
        for path in canary.files(everything(docked))
        if not path.is_relative_to(agents_own) or path.relative_to(agents_own).parts[0] not in elsewhere
    ] == []

    docked.taskq.run("cancel", OWN)
    (report,) = docked.taskq.json("cleanup")
    assert any("could not be collected" in kept for kept in report["kept"])


def test_a_secret_that_is_not_set_is_said_before_any_agent_runs(docked: Docked) -> None:
    docked.say('secrets = ["CANARY"]\n')
    docked.add("echo begun; echo x > work.txt")
    assert "begun" not in docked.taskq.run("run", "--follow", code=1).stdout
    task = docked.task()
    assert (task["status"], task["error"]["stage"], task["error"]["code"]) == ("failed", "setup", "no_secret")
    assert "CANARY" in task["error"]["message"]
    assert "taskq secret set CANARY" in task["error"]["message"]
    assert task["run"]["observed"] is None

    docked.taskq.run("secret", "set", "CANARY", text="a value at last\n")
    docked.taskq.run("retry", OWN)
    docked.taskq.run("run")
    assert docked.task()["status"] == "review"


def test_a_secret_that_the_repository_does_not_name_is_not_in_the_sandbox(docked: Docked, canary: Canary) -> None:
    docked.taskq.run("secret", "set", "OTHER", text="another value\n")
    docked.add('ls "$TASKQ_SECRETS" > names.txt')
    docked.taskq.run("run")
    assert docked.repo.git("show", f"task/{OWN.lower()}:names.txt") == "CANARY"


@dataclass(frozen=True)
class Keys:
    """The operator's OpenCode is logged in with one key, and has another in its configuration."""

    desk: Desk
    of_login: Canary
    of_config: Canary

    def files(self) -> list[Path]:
        """Return the files that hold either, but the operator's own."""
        return [
            path
            for each in (self.of_login, self.of_config)
            for path in (*each.files(everything(self.desk.docked)), *each.stores(everything(self.desk.docked)))
            if path != self.desk.home / LOGIN
        ]

    def are_in(self, content: bytes) -> bool:
        return self.of_login.is_in(content) or self.of_config.is_in(content)

    def inside(self, container: str) -> bytes:
        """Return what the agent's user reads in the container of what OpenCode keeps there."""
        user = in_container(container, "stat", "-c", "%u", "/taskq/workspace").decode().strip()
        look = ("find", "/taskq", "-path", "*/opencode/*.json", "-exec", "cat", "{}", "+")
        return in_container(container, *look, user=user)


def in_container(container: str, *command: str, user: str = "0") -> bytes:
    return subprocess.run(
        ["docker", "exec", "--user", user, container, *command], capture_output=True, check=False, timeout=60
    ).stdout


LOGIN = ".local/share/opencode/auth.json"


@pytest.fixture
def keys(desk: Desk) -> Keys:
    (desk.home / ".config/taskq").mkdir(parents=True)
    made = Keys(desk, *(Canary(f"{token_hex(20)}/+ {token_hex(20)}") for _ in range(2)))
    desk.configure(config(desk.model.url, key=made.of_config.value))
    desk.write(LOGIN, json.dumps({"fake": {"type": "api", "key": made.of_login.value}}))
    assert made.of_login.files(everything(desk.docked)) == [desk.home / LOGIN], "the control: there it is found"
    return made


def test_the_agent_s_credentials_go_with_its_container_also_when_the_runner_is_killed(keys: Keys) -> None:
    desk, docked = keys.desk, keys.desk.docked
    desk.add(f"write work.txt: x\n{HOLD}")
    for stage in ("plan", "build"):
        desk.model.answer = (lambda asked: Hang()) if stage == "plan" else do_as_told
        before = len(desk.model.asked)
        with running(docked.taskq, "run", "--follow") as runner:
            wait_until(partial(is_at, desk, stage, before), what=f"it is at its {stage}", seconds=100)
            container = docked.task()["run"]["observed"] or {"id": docked.running_containers()[0]["Id"]}
            seen = {
                "arguments": all_arguments(),
                "environments": all_environments(),
                "inspect": json.dumps(docked.engine.api.inspect_container(container["id"])).encode(),
                "container log": docked.engine.api.logs(container["id"]),
            }
            assert [name for name, content in seen.items() if keys.are_in(content)] == []
            assert keys.files() == []
            assert keys.are_in(keys.inside(container["id"])), "the control: inside it is found"
            runner.kill()
            shown = "".join(runner.communicate())
        assert not keys.are_in(shown.encode())
        wait_until(lambda: docked.running_containers() == [], what="the container has ended")
        wait_until(lambda: holders(docked.state) == {}, what="nobody has a file of the attempt open")
        assert keys.files() == []
    used = {asked.authorization.removeprefix("Bearer ") for asked in desk.model.asked}
    assert used <= {keys.of_login.value, keys.of_config.value}, "the control: it was used"

    docked.taskq.run("cleanup")
    assert (docked.containers(), keys.files()) == ([], [])
    with running(docked.taskq, "run") as runner:
        wait_until(partial(is_at, desk, "build", len(desk.model.asked)), what="it builds", seconds=100)
        docked.open_gate()
        shown = "".join(runner.communicate(timeout=100))
    task = docked.task()
    assert (task["status"], task["attempt"], task["error"]) == ("review", 3, None)
    assert (docked.containers(), keys.files(), keys.are_in(shown.encode())) == ([], [], False)


def is_at(desk: Desk, stage: str, before: int) -> bool:
    """Return whether the model was asked since, or the agent has written."""
    if stage == "plan":
        return len(desk.model.asked) > before
    run = desk.docked.task()["run"]
    return run is not None and (Path(run["folder"]) / "workspace/work.txt").exists()


def test_an_agent_that_tells_its_own_credentials_is_not_repeated_and_its_work_stays_where_it_is(keys: Keys) -> None:
    desk, docked = keys.desk, keys.desk.docked
    look = "cat $(dirname $OPENCODE_CONFIG)/*.json"
    tell = f"{look}; {look} | base64 -w0; {look} >leak.txt; {look} >ignored.log"

    def answer(asked: Asked) -> Reply:
        told = f"I know {keys.of_login.value} and {keys.of_config.value}"
        if is_planning(asked) or asked.answered:
            return Say(text=told)
        return Say(text=told, calls=(Call(tool="bash", arguments={"command": tell, "description": told}),))

    desk.model.answer = answer
    desk.add("Tell it")
    done = docked.taskq.run("run", "--follow", code=1)
    task = docked.task()
    assert (task["error"]["stage"], task["error"]["code"]) == ("collect", "secret_in_work")
    seen = {
        "run": done.stdout,
        "stderr": done.stderr,
        **{
            " ".join(words): docked.taskq.run(*words).stdout
            for words in (("show", OWN), ("logs", OWN), ("logs", OWN, "--events"), ("logs", OWN, "--raw"))
        },
    }
    assert [name for name, text in seen.items() if keys.are_in(text.encode())] == []
    assert [name for name, text in seen.items() if "[secret opencode:fake]" not in text] == ["stderr", f"show {OWN}"]
    agents_own = {"workspace", "git", "out", "data"}
    held = {path.relative_to(docked.folder()).parts[0] for path in keys.files()}
    assert held <= agents_own
    assert "workspace" in held, "the control: what it wrote is found"
