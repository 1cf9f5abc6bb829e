"""What runs inside the sandbox to take an attempt's work out: a fixed script that needs only sh and git.

It commits what is left uncommitted and writes ``work.bundle`` to ``$TASKQ_OUT``: a bundle of exactly one ref, HEAD, or,
when HEAD holds nothing that the base does not, one line ``nothing <commit>``. The host believes neither.
A non-zero exit says that the workspace's git is broken (or the out folder full): the work is then taken as an archive.
"""

from typing import Final

from orchestration.core.attempts import AttemptSpec

NO_GIT: Final = 20
"""No git, no HEAD commit, or no readable repository."""
NOT_COMMITTED: Final = 21
"""What was left could not be committed."""
NOT_BUNDLED: Final = 22
"""The bundle could not be written."""

BUNDLE: Final = "work.bundle"

SCRIPT: Final = r"""
base=$1 message=$2 name=$3 email=$4
out=$TASKQ_OUT
rm -f "$out/work.bundle" "$out/work.bundle.new"
unset GIT_INDEX_FILE GIT_OBJECT_DIRECTORY GIT_ALTERNATE_OBJECT_DIRECTORIES GIT_COMMON_DIR GIT_NAMESPACE
GIT_DIR=$(cd ../git && pwd -P) || exit 20
GIT_WORK_TREE=$(pwd -P) || exit 20
GIT_EDITOR=: GIT_TERMINAL_PROMPT=0 GIT_LITERAL_PATHSPECS=1
export GIT_DIR GIT_WORK_TREE GIT_EDITOR GIT_TERMINAL_PROMPT GIT_LITERAL_PATHSPECS
g() {
    git -c core.hooksPath=/dev/null -c core.fsmonitor=false -c core.untrackedCache=false -c core.editor=: \
        -c commit.gpgSign=false -c gc.auto=0 -c maintenance.auto=false -c advice.addEmbeddedRepo=false \
        -c user.name="$name" -c user.email="$email" "$@" </dev/null
}
rm -f "$GIT_DIR/index.lock" "$GIT_DIR/HEAD.lock"
g rev-parse --verify --quiet 'HEAD^{commit}' >/dev/null || exit 20
if ! g add -A .; then
    g add -A --ignore-errors . || g ls-files >/dev/null 2>&1 || {
        rm -f "$GIT_DIR/index"
        g read-tree HEAD && g add -A --ignore-errors . || exit 21
    }
fi
if ! g diff-index --cached --quiet HEAD -- || test -e "$GIT_DIR/MERGE_HEAD"; then
    g commit --quiet --no-verify --allow-empty --cleanup=verbatim -m "$message" || exit 21
fi
head=$(g rev-parse --verify --quiet 'HEAD^{commit}') || exit 20
new=$(g rev-list -n 1 HEAD "^$base") || exit 20
if test -z "$new"; then
    printf 'nothing %s\n' "$head" >"$out/work.bundle.new" || exit 22
else
    g bundle create --quiet "$out/work.bundle.new" HEAD "^$base" || exit 22
fi
mv -f "$out/work.bundle.new" "$out/work.bundle" || exit 22
"""


def command(spec: AttemptSpec, *, name: str, email: str) -> tuple[str, ...]:
    """Return the command line; it is run in the workspace."""
    message = f"{spec.task}: work that was left uncommitted"
    return ("/bin/sh", "-c", SCRIPT, "taskq-collect", spec.base_commit, message, name, email)
