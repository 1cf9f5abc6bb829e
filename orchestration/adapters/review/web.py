"""A person in the agent's session with their browser: a page is there until they leave.

The page is OpenChamber's where that is installed, else the agent's own; the server behind both is in the sandbox.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import quote

from orchestration.adapters.review import browser, openchamber
from orchestration.adapters.review.listener import LOOPBACK, Listener
from orchestration.core.ports import AgentServer
from orchestration.core.review import Page, Visit


@dataclass(frozen=True, slots=True, kw_only=True)
class Web:
    """The visitor for a browser. *tell* is told of the page; *opens* is whether to open a browser, None: if it can be.

    *worktree* is the operator's; where there is none, the agent's own page is shown.
    """

    environment: Mapping[str, str]
    tell: Callable[[Page], None]
    opens: bool | None
    worktree: Path | None

    def session(self, visit: Visit) -> None:
        """Show the session until the person leaves. Raises: what opening it raises."""
        with (
            visit.serve() as server,
            Listener(partial(visit.services.connect, server.port)) as listener,
            browser.private_folder(self.environment) as scratch,
            self._page(visit, server, listener.port, scratch) as page,
        ):
            self.tell(page)
            if self.opens or (self.opens is None and browser.has_display(self.environment, platform=sys.platform)):
                browser.show(browser.redirect(scratch, page.url))
            visit.left.wait()

    @contextmanager
    def _page(self, visit: Visit, server: AgentServer, port: int, scratch: Path) -> Iterator[Page]:
        found = openchamber.find(self.environment)
        if found is None or self.worktree is None or not self.worktree.is_dir():
            yield own_page(server, port)
            return
        with found.opened(server, port=port, folders=visit.folders, worktree=self.worktree, scratch=scratch) as page:
            yield page


def own_page(server: AgentServer, port: int) -> Page:
    """Return the agent's own page, by the *port* of the host that leads to its server; the password is in its URL."""
    who = f"{quote(server.user, safe='')}:{quote(server.password, safe='')}"
    return Page(title="the agent's own page", url=f"http://{who}@{LOOPBACK}:{port}{server.page}")
