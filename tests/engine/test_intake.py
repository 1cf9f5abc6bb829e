from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from orchestration.core.drafts import TaskDraft
from orchestration.core.errors import RepositoryError, UsageError
from orchestration.core.models import Limits, Task
from orchestration.core.repository import RepositoryFacts
from orchestration.core.settings import Settings
from orchestration.core.status import Status
from orchestration.engine.intake import Intake
from tests.engine.fakes import BASE, START

Settle = Callable[..., Task]


class Looks:
    """Notes each look at a repository; the one named ``none`` is no repository."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, str | None]] = []

    def inspect(self, repo: Path, base: str, branch: str | None) -> RepositoryFacts:
        self.seen.append((repo.name, base, branch))
        if repo.name == "none":
            raise RepositoryError(f"{repo} is no git repository")
        return RepositoryFacts(repo, repo / ".git", BASE, (f"{repo.name} has submodules",))


@pytest.fixture
def looks() -> Looks:
    return Looks()


@pytest.fixture
def intake(tmp_path: Path, looks: Looks) -> Callable[..., Intake]:
    def make(settings: Settings | None = None, check: Callable[[Task], None] = lambda _task: None) -> Intake:
        return Intake(
            settings=settings or Settings(),
            worktree_root=tmp_path / "worktrees",
            cwd=tmp_path,
            inspect=looks.inspect,
            current_branch=lambda _folder: "current",
            check=check,
        )

    return make


def draft(**fields: object) -> TaskDraft:
    return TaskDraft(**{"id": "T-1", "text": "do it", "repo": "shop", **fields})  # type: ignore[arg-type]  # a builder takes any field


@pytest.fixture
def settle(intake: Callable[..., Intake]) -> Settle:
    def one(settings: Settings | None = None, **fields: object) -> Task:
        (task,) = intake(settings).settle([draft(**fields)], now=START)
        return task

    return one


def test_a_task_has_every_default_settled(settle: Settle, tmp_path: Path) -> None:
    task = settle()
    assert (task.status, task.repo, task.base, task.base_commit) == (
        Status.TODO,
        str(tmp_path / "shop"),
        "current",
        BASE,
    )
    assert (task.branch, task.title, task.priority, task.limits) == ("task/t-1", "do it", 0, Limits())
    assert Path(task.worktree_path or "").is_relative_to(tmp_path / "worktrees")
    assert (task.agent, task.sandbox, task.network) == ("opencode", "docker", "allowlist")
    assert (task.allow_empty, task.created_at) == (False, START)


@pytest.mark.parametrize(
    ("name", "said", "configured"),
    [
        ("base", "release", "develop"),
        ("agent", "oracle", "scripted"),
        ("agent_command", "make it", "make all"),
        ("model", "large", "small"),
        ("variant", "high", "low"),
        ("sandbox", "docker", "local"),
        ("network", "open", "none"),
        ("priority", 0, 7),
        ("allow_empty", False, True),
    ],
)
def test_what_a_draft_says_is_stronger_than_what_is_configured(
    settle: Settle, name: str, said: object, configured: object
) -> None:
    settings = Settings(**{name: configured})  # type: ignore[arg-type]  # one field at a time
    assert getattr(settle(settings), name) == configured
    assert getattr(settle(settings, **{name: said}), name) == said


def test_limits_are_merged_one_by_one(settle: Settle) -> None:
    settings = Settings(limits=Limits(build=timedelta(hours=2), files=5))
    limits = settle(settings, limits={"files": 9}).limits
    assert (limits.files, limits.build, limits.setup) == (9, timedelta(hours=2), Limits().setup)


@pytest.mark.parametrize("network", [None, "open"])
def test_the_network_of_a_local_task_is_always_open(settle: Settle, network: str | None) -> None:
    assert settle(sandbox="local", network=network).network == "open"
    assert settle(Settings(network=network), sandbox="local").network == "open"


@pytest.mark.parametrize("network", ["allowlist", "none"])
def test_a_network_that_the_local_sandbox_cannot_keep_to_is_refused_said_or_configured(
    settle: Settle, network: str
) -> None:
    for settings, said in ((Settings(), network), (Settings(network=network), None)):
        with pytest.raises(UsageError, match=f"cannot be {network}; use --sandbox docker, or --network open"):
            settle(settings, sandbox="local", network=said)
    assert settle(Settings(network=network), sandbox="local", network="open").network == "open"
    assert settle(sandbox="docker", network=network).network == network


@pytest.mark.parametrize("limits", [{"memory": 2**30}, {"cpus": 0.5}, {"pids": 7}, {"memory": 2**30, "pids": 7}])
def test_a_limit_that_the_local_sandbox_does_not_keep_is_refused_when_the_task_itself_says_it(
    settle: Settle, limits: dict[str, object]
) -> None:
    with pytest.raises(UsageError, match=f"does not limit {', '.join(limits)}; use --sandbox docker"):
        settle(sandbox="local", limits=limits)
    configured = Limits()._replace(**limits)  # type: ignore[arg-type]  # a table's column
    assert settle(Settings(limits=configured), sandbox="local").limits == configured
    assert settle(sandbox="docker", limits=limits).limits == configured


def test_what_is_to_know_of_the_repositories_is_told_once_each(intake: Callable[..., Intake]) -> None:
    settling = intake()
    assert not settling.warnings
    repos = ("shop", "elsewhere", "shop")
    settling.settle([draft(id=f"T-{n}", repo=repo, branch=f"b{n}") for n, repo in enumerate(repos)], now=START)
    assert settling.warnings == ("shop has submodules", "elsewhere has submodules")


@pytest.mark.parametrize(
    ("settings", "fields", "agent"),
    [
        (Settings(agent="oracle"), {"agent_command": "make"}, "command"),
        (Settings(agent="oracle", agent_command="make"), {}, "oracle"),
        (Settings(agent_command="make"), {}, "command"),
        (Settings(), {"agent": "scripted", "agent_command": "make"}, "scripted"),
        (Settings(), {}, "opencode"),
    ],
)
def test_a_command_that_is_given_is_meant_to_be_run(
    settle: Settle, settings: Settings, fields: dict[str, object], agent: str
) -> None:
    assert settle(settings, **fields).agent == agent


def test_equal_drafts_are_one_look_at_the_repository(intake: Callable[..., Intake], looks: Looks) -> None:
    drafts = [draft(id=f"T-{number}") for number in range(50)]
    drafts += [draft(id="other", base="release"), draft(id="third", repo="elsewhere"), draft(id="named", branch="x")]
    tasks = intake().settle(drafts, now=START)
    assert [task.id for task in tasks] == [given.id for given in drafts]
    assert looks.seen == [
        ("shop", "current", "task/t-0"),
        ("shop", "release", "task/other"),
        ("elsewhere", "current", "task/third"),
        ("shop", "current", "x"),
    ]


def test_an_id_comes_from_the_file_s_name_when_none_is_given(settle: Settle) -> None:
    assert settle(id=None, stem="my task.v2").id == "my-task.v2"


@pytest.mark.parametrize(
    ("fields", "code", "words"),
    [
        ({"id": None}, "no_id", "give one with --id"),
        ({"id": None, "stem": "..."}, "bad_id", "leaves nothing for an id"),
        ({"id": "../x"}, "bad_id", "is no task id"),
        ({"text": None}, "empty_task", "T-1 is empty"),
        ({"text": " \n\t\n"}, "empty_task", "T-1 is empty"),
        ({"repo": None}, "no_repository", "--repo"),
        ({"repo": "none"}, "repository", "is no git repository"),
        ({"network": "opne"}, "unknown_network", "no network 'opne'; there are: allowlist, none, open"),
        ({"network": "none", "sandbox": "local"}, "unlimited_sandbox", "does not limit the network"),
        ({"limits": {"cpus": 1.0}, "sandbox": "local"}, "unlimited_sandbox", "does not limit cpus"),
        ({"branch": "a..b"}, "usage", "is no branch name"),
        ({"after": ("a b",)}, "bad_id", "is no task id"),
        ({"labels": ("",)}, "bad_label", "is no label"),
        ({"labels": ("x" * 65,)}, "bad_label", "is no label"),
        ({"labels": ("a\x1b",)}, "bad_label", "is no label"),
        ({"worktree_path": "taken"}, "worktree_taken", "is taken"),
        ({"worktree_path": "taken/file"}, "worktree_taken", "is taken"),
        ({"worktree_path": "shop/.git/w"}, "worktree_taken", "inside the repository's git folder"),
    ],
)
def test_a_draft_that_cannot_be_is_refused_and_where_it_was_said_is_told(
    settle: Settle, tmp_path: Path, fields: dict[str, object], code: str, words: str
) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/file").touch()
    with pytest.raises(UsageError, match=words) as plain:
        settle(**fields)
    with pytest.raises(UsageError) as told:
        settle(**fields, source="tasks.md:7")
    assert plain.value.code == told.value.code == code
    assert type(told.value) is type(plain.value)
    assert str(told.value) == f"tasks.md:7: {plain.value}"


def test_an_error_that_tells_its_source_is_not_told_it_twice(intake: Callable[..., Intake]) -> None:
    def refuse(_task: Task) -> None:
        raise UsageError("tasks.md:7: the agent is unknown")

    with pytest.raises(UsageError, match=r"^tasks\.md:7: the agent is unknown$"):
        intake(check=refuse).settle([draft(source="tasks.md:7")], now=START)


def test_one_bad_draft_refuses_them_all(intake: Callable[..., Intake]) -> None:
    with pytest.raises(UsageError, match="line 2"):
        intake().settle([draft(source="line 1"), draft(id="-", source="line 2")], now=START)


def test_no_draft_at_all_is_an_error(intake: Callable[..., Intake]) -> None:
    with pytest.raises(UsageError, match="no task in the input"):
        intake().settle([], now=START)


def test_a_title_is_the_first_line_of_the_text_cut_to_a_width(settle: Settle) -> None:
    assert settle(text=f"\n\n{'x' * 100}\nmore").title == "x" * 72
    assert settle(title="Said", text="more").title == "Said"


def test_labels_are_kept_once_and_in_order(settle: Settle) -> None:
    assert settle(labels=("b", "a", "b")).labels == ("b", "a")


def test_an_empty_folder_may_become_the_worktree(settle: Settle, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert settle(worktree_path="empty").worktree_path == str(tmp_path / "empty")


def test_of_many_tasks_each_has_the_place_that_it_would_have_alone(
    intake: Callable[..., Intake], settle: Settle, tmp_path: Path
) -> None:
    drafts = [draft(id=name, repo=repo) for name in ("A.1", "b") for repo in ("shop", "bank")]
    told: list[int] = []
    tasks = intake().settle(drafts, now=START, tell=told.append)
    alone = [settle(id=one.id, repo=one.repo) for one in drafts]
    assert [(task.repo, task.worktree_path) for task in tasks] == [(task.repo, task.worktree_path) for task in alone]
    assert len({task.worktree_path for task in tasks}) == len(drafts)
    assert told == [1, 2, 3, 4]
