"""What a repository says of its surroundings in `.taskq.toml`, through the command line."""

import signal

import pytest

from orchestration.adapters.sandbox.docker.images import DEFAULT_DOCKER_IMAGE
from tests.journeys.containers import OWN, Docked, Shop, docked, events, shop
from tests.journeys.test_interruptions import running
from tests.journeys.waiting import wait_until

__all__ = ["docked", "shop"]
pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]
SECOND = f"{OWN}b"
INSTALL = r"""
setup = '''
echo installing for $PURPOSE
test "$(cat src/app.py | wc -l)" = 2
printf '#!/bin/sh\necho tool of %s\n' "$(date +%N)" > /usr/local/bin/tool
chmod +x /usr/local/bin/tool
'''
[env]
PURPOSE = "a journey"
"""


def test_a_setup_is_run_once_and_agents_use_what_it_installed(shop: Shop) -> None:
    docked = shop.docked
    docked.say(INSTALL)
    docked.add("tool > made.txt")
    docked.taskq.run("run")
    docked.add("tool > made.txt", identifier=SECOND)
    docked.taskq.run("run")
    first, second = docked.task(), docked.task(SECOND)
    assert (first["status"], second["status"]) == ("review", "review")
    made = docked.repo.git("show", f"{first['revision']['commit']}:made.txt")
    assert made.startswith("tool of ")
    assert docked.repo.git("show", f"{second['revision']['commit']}:made.txt") == made
    assert "installing for a journey" in docked.taskq.run("logs", OWN, "--stage", "setup").stdout
    assert docked.taskq.run("logs", SECOND, "--stage", "setup").stdout == ""
    assert shop.snapshots() == [first["run"]["observed"]["image"]] == [second["run"]["observed"]["image"]]
    assert [change["path"] for change in first["revision"]["files"]] == ["made.txt"], "setup's files are not work"
    assert shop.containers() == []


def test_tasks_that_start_at_once_run_the_setup_once(shop: Shop) -> None:
    docked = shop.docked
    docked.say(INSTALL)
    names = [f"{OWN}-{number}" for number in range(3)]
    for name in names:
        docked.add("tool > made.txt", identifier=name)
    docked.taskq.run("run", "--max-parallel", "3")
    made = {docked.repo.git("show", f"task/{name.lower()}:made.txt") for name in names}
    assert len(made) == 1
    assert len(shop.snapshots()) == 1


def test_a_setup_that_fails_is_the_tasks_failure_with_its_log_and_leaves_nothing(shop: Shop) -> None:
    docked = shop.docked
    docked.say('setup = "echo some-words; echo last-words >&2; exit 3"\n')
    docked.add("echo begun; echo x > work.txt")
    assert "begun" not in docked.taskq.run("run", "--follow", code=1).stdout
    task = docked.task()
    assert (task["status"], task["error"]["stage"], task["error"]["code"]) == ("failed", "setup", "setup_failed")
    assert "last-words" in task["error"]["message"]
    logs = docked.taskq.run("logs", OWN).stdout
    assert "some-words" in logs
    assert "last-words" in logs
    assert shop.containers() == []
    assert shop.snapshots() == []

    docked.say('setup = "echo better"\n')
    docked.taskq.run("retry", OWN)
    docked.taskq.run("run")
    assert docked.task()["status"] == "review"


def test_a_setup_that_does_not_end_is_ended_at_its_limit(shop: Shop) -> None:
    docked = shop.docked
    docked.say('setup = "echo begun; sleep 1000"\n')
    docked.add("echo x > work.txt", "--limit", "setup=3s")
    docked.taskq.run("run", code=1)
    task = docked.task()
    assert (task["status"], task["error"]["stage"], task["error"]["code"]) == ("failed", "setup", "setup_failed")
    assert "0:00:03" in task["error"]["message"]
    assert shop.snapshots() == []


@pytest.mark.parametrize("how", ["cancel", "ctrl-c"])
def test_a_setup_that_is_stopped_ends_within_seconds_and_no_container_of_it_is_left(shop: Shop, how: str) -> None:
    docked = shop.docked
    docked.say('setup = "echo begun; sleep 1000"\n')
    docked.add("echo x > work.txt")
    with running(docked.taskq, "run", "--json") as runner:
        assert runner.stdout is not None
        assert any(event["event"] == "output" for event in events(runner.stdout))
        wait_until(lambda: shop.containers() != [], what="the build's container runs")
        if how == "cancel":
            docked.taskq.run("cancel", OWN, "--timeout", "20")
        else:
            runner.send_signal(signal.SIGINT)
            runner.send_signal(signal.SIGTERM)  # two of a kind may arrive as one
        runner.communicate(timeout=20)
    wait_until(lambda: shop.containers() == [], what="the engine has removed the build's container")
    assert shop.snapshots() == []
    task = docked.task()
    assert (task["status"], task["charged"]) == ("cancelled" if how == "cancel" else "todo", 0)


def test_a_task_that_waits_for_the_setup_of_another_can_be_cancelled(shop: Shop) -> None:
    docked = shop.docked
    docked.say('setup = "echo begun; sleep 1000"\n')
    docked.add("echo x > work.txt", "--priority", "1")
    docked.add("echo x > work.txt", identifier=SECOND)
    with running(docked.taskq, "run", "--json") as runner:
        assert runner.stdout is not None
        assert any(event["event"] == "output" for event in events(runner.stdout))
        wait_until(lambda: docked.task(SECOND)["held"], what="the second task is at its setup")
        docked.taskq.run("cancel", SECOND, "--timeout", "20")
        docked.taskq.run("cancel", OWN, "--timeout", "20")
        runner.communicate(timeout=20)
    wait_until(lambda: shop.containers() == [], what="the engine has removed the build's container")


def test_an_image_that_is_not_here_is_an_error_with_the_remedy_and_is_not_pulled(docked: Docked) -> None:
    docked.say('image = "registry.invalid/some/tools:1"\n')
    docked.add("echo x > work.txt")
    docked.taskq.run("run", code=1)
    error = docked.task()["error"]
    assert (error["stage"], error["code"]) == ("setup", "image_missing")
    assert error["message"].endswith("docker pull registry.invalid/some/tools:1")


def test_a_dockerfile_of_the_repository_is_built_and_gets_the_agents_part(shop: Shop) -> None:
    docked = shop.docked
    docked.repo.write("docker/tools.txt", "of the repository\n")
    docked.repo.write(
        "docker/Dockerfile",
        f"FROM {DEFAULT_DOCKER_IMAGE}\nLABEL {shop.token}\nCOPY docker/tools.txt /usr/local/tools.txt\n"
        "USER root\nRUN rm -r /usr/local/lib/taskq\nENV THEIRS=kept\n",
    )
    docked.say('dockerfile = "docker/Dockerfile"\n')
    docked.add('cat /usr/local/tools.txt > made.txt; echo "$THEIRS" >> made.txt')
    docked.taskq.run("run")
    assert docked.repo.git("show", f"task/{OWN.lower()}:made.txt") == "of the repository\nkept"


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ('seutp = "true"\n', "unknown key 'seutp'; did you mean 'setup'?"),
        ("allow = 3\n", "allow: must be a list"),
        ('[env]\nGIT_DIR = "x"\n', "env: GIT_DIR is set by taskq itself"),
        ('setup = "unclosed\n', "line 1"),
        ('allow = ["http://host.example/"]\n', "host.example"),
    ],
)
def test_a_mistake_in_the_file_fails_the_task_and_is_named(docked: Docked, said: str, named: str) -> None:
    docked.say(said)
    docked.add("echo begun; echo x > work.txt")
    assert "begun" not in docked.taskq.run("run", "--follow", code=1).stdout
    error = docked.task()["error"]
    assert error["stage"] == "setup"
    assert error["code"] == "config"
    assert named in error["message"]


def test_variables_reach_the_agent_as_they_were_written(docked: Docked) -> None:
    docked.say("""[env]\nODD = "two words  'quoted' \\"twice\\" $HOME `id` \\\\n é"\nEMPTY = ""\n""")
    docked.add('printf %s "$ODD" > odd.txt; printf %s "${EMPTY-unset}" > empty.txt; echo "$TASKQ_SANDBOX" > kind.txt')
    docked.taskq.run("run")
    commit = docked.task()["revision"]["commit"]
    assert docked.repo.git("show", f"{commit}:odd.txt") == "two words  'quoted' \"twice\" $HOME `id` \\n é"
    assert docked.repo.git("show", f"{commit}:empty.txt") == ""
    assert docked.repo.git("show", f"{commit}:kind.txt") == "docker"


def test_what_an_agent_changes_in_the_file_counts_once_it_has_landed(docked: Docked) -> None:
    docked.say('[env]\nWHO = "operator"\n')
    docked.add("sed -i s/operator/agent/ .taskq.toml; echo $WHO > who.txt")
    docked.taskq.run("run")
    docked.add("echo $WHO > who.txt; echo second >> README.md", identifier=SECOND)
    docked.taskq.run("run")
    for name in (OWN, SECOND):
        assert docked.repo.git("show", f"task/{name.lower()}:who.txt") == "operator"
    docked.taskq.run("approve", OWN, "--land", "ff")
    docked.add("echo $WHO > who.txt", identifier=f"{OWN}c")
    docked.taskq.run("run")
    assert docked.repo.git("show", f"task/{OWN.lower()}c:who.txt") == "agent"
