from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from orchestration.cli.main import cli
from tools.command_reference import main, reference


def paths(command: click.Command, parent: click.Context | None, name: str) -> Iterator[str]:
    """Yield what a person types for *command* and for each command below it."""
    context = click.Context(command, info_name=name, parent=parent)
    yield context.command_path
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            below = command.get_command(context, inner)
            assert below is not None
            yield from paths(below, context, inner)


def test_every_command_that_can_be_typed_has_an_entry() -> None:
    headings = {line.lstrip("# ") for line in reference().splitlines() if line.startswith("###")}
    typed = set(paths(cli, None, "taskq")) - {"taskq"}
    assert "taskq secret set" in typed
    assert headings == typed


def test_an_entry_of_a_group_is_followed_by_those_of_its_commands_one_level_lower() -> None:
    headings = [line for line in reference().splitlines() if line.startswith("###")]
    at = headings.index("### taskq secret")
    assert headings[at + 1 : at + 4] == [
        "#### taskq secret list",
        "#### taskq secret remove",
        "#### taskq secret set",
    ]


def test_without_arguments_the_page_is_written(tmp_path: Path) -> None:
    page = tmp_path / "commands.md"
    assert main([], target=page) == 0
    assert page.read_text(encoding="utf-8") == reference()


@pytest.mark.parametrize(("arguments", "code"), [(["--help"], 0), (["--chekc"], 2), (["other.md"], 2)])
def test_help_and_what_is_not_understood_write_nothing(tmp_path: Path, arguments: list[str], code: int) -> None:
    page = tmp_path / "commands.md"
    page.write_text("as it was", encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        main(arguments, target=page)
    assert ended.value.code == code
    assert page.read_text(encoding="utf-8") == "as it was"
