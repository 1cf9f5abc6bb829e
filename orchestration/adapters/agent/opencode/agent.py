"""The agent `opencode`: plans with OpenCode's plan agent, builds with its build agent, in one session.

Where the sandbox has services, one server of OpenCode's lives from plan to build; elsewhere each stage is a run of its
own. Guarantees: nothing of it runs, and no credential is left in the sandbox, once `build` or a failed `plan` returned.
"""

import contextlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

from orchestration.adapters.agent.opencode import memory, prompts, seeds, server
from orchestration.adapters.agent.opencode.client import USER
from orchestration.adapters.agent.opencode.conversation import Prompt, converse
from orchestration.adapters.agent.opencode.hearing import Hearing
from orchestration.adapters.agent.opencode.judgement import NO_MEMORY, NO_MODEL, Problem, judge
from orchestration.adapters.agent.opencode.operator import Operator, read_operator
from orchestration.adapters.agent.opencode.page import page_of
from orchestration.adapters.agent.opencode.providers import hosts_of
from orchestration.adapters.agent.opencode.seeds import Seeds
from orchestration.adapters.agent.opencode.server import Catalogue, Server
from orchestration.adapters.agent.opencode.single import run_once
from orchestration.core.attempts import AttemptSpec
from orchestration.core.errors import WorkFailedError
from orchestration.core.ports import AgentJob, AgentNeeds, AgentResult, AgentServer, Command, Exit, Output, Sandbox

_REVIEW: Final = timedelta(days=30)
"""How long a person may look."""
_SPARE: Final = timedelta(minutes=10)


class OpenCodeAgent:
    """See `core.ports.Agent`. *environment* holds the operator's variables, which say where his OpenCode is set up."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._operator: Operator | None = None
        self._seeds: Seeds | None = None
        self._server: Server | None = None
        self._catalogue: Catalogue | None = None
        self._session: str | None = None

    def needs(self, spec: AttemptSpec) -> AgentNeeds:
        """See `core.ports.Agent.needs`: the hosts of the models in use, and all of the operator's credentials."""
        operator = self._known()
        used = seeds.used_providers(spec, operator)
        hosts = hosts_of(operator.config, operator.auth, used, from_inside=spec.network == "allowlist")
        return AgentNeeds(allow=hosts.allow, allow_private=hosts.allow_private, secrets=operator.secrets)

    def plan(self, sandbox: Sandbox, job: AgentJob, output: Output) -> AgentResult | None:
        """See `core.ports.Agent.plan`: None for a session that is gone on with, which has its plan."""
        if job.spec.session is not None:
            return None
        has_planned = False
        try:
            result = self._work(sandbox, job, output, agent="plan", text=prompts.plan(job))
            has_planned = result.problem is None
        finally:
            if not has_planned:
                self._leave(sandbox)
        return result

    def build(self, sandbox: Sandbox, job: AgentJob, output: Output) -> AgentResult:
        """See `core.ports.Agent.build`."""
        try:
            return replace(self._work(sandbox, job, output, agent="build", text=prompts.build(job)), plan=None)
        finally:
            self._leave(sandbox)

    def serve(self, sandbox: Sandbox, job: AgentJob, _output: Output) -> AbstractContextManager[AgentServer] | None:
        """See `core.ports.Agent.serve`."""
        if job.session is None or sandbox.services is None:
            return None
        return self._serving(sandbox, job, job.session)

    @contextlib.contextmanager
    def _serving(self, sandbox: Sandbox, job: AgentJob, session: str) -> Iterator[AgentServer]:
        try:
            seeded, opened = self._enter(sandbox, job.spec, lifetime=_REVIEW)
            if opened is None or not opened.has(session):
                raise WorkFailedError(
                    f"OpenCode has no session {session!a:.80} in the attempt's data", code="no_session"
                )
            url = f"http://127.0.0.1:{server.PORT}"
            attach = Command(
                argv=("opencode", "attach", url, "--session", session, "--dir", seeded.directory),
                timeout=_REVIEW,
                env={**seeded.environment, "OPENCODE_SERVER_PASSWORD": opened.password},
            )
            yield AgentServer(
                port=server.PORT,
                user=USER,
                password=opened.password,
                page=page_of(seeded.directory, session),
                attach=attach,
            )
        finally:
            self._leave(sandbox)

    def _work(self, sandbox: Sandbox, job: AgentJob, output: Output, *, agent: str, text: str) -> AgentResult:
        hearing = Hearing(job.record, output, session=job.session)
        model = job.spec.model if job.spec.model is not None else self._model()
        prompt = Prompt(session=job.session or "", agent=agent, text=text, model=model, variant=job.spec.variant)
        title = f"{job.spec.task}: {' '.join(job.spec.text.split())[:60]}"
        try:
            ended, problem = self._ask(sandbox, job, prompt, hearing, output, title=title)
        except server.NotStartedError as error:
            ended = error.ended
            problem = NO_MEMORY if memory.ran_out(sandbox, ended) else server.problem_of(error)
        except WorkFailedError as error:
            ended, problem = Exit(code=None), server.problem_of(error)
        evidence = hearing.evidence
        problem = problem or judge(evidence, ended, now=datetime.now(UTC), out_of_memory=memory.ran_out(sandbox, ended))
        if problem is not None:
            hearing.say(problem.text)
        return AgentResult(
            exit=ended,
            command=_spell(prompt),
            problem=None if problem is None else problem.text,
            code=None if problem is None else problem.code,
            plan=evidence.said or None,
            session=evidence.session,
            usage=evidence.usage,
            retry_at=None if problem is None else problem.retry_at,
        )

    def _ask(
        self, sandbox: Sandbox, job: AgentJob, prompt: Prompt, hearing: Hearing, output: Output, *, title: str
    ) -> tuple[Exit, Problem | None]:
        if not seeds.used_providers(job.spec, self._known()):
            return Exit(code=None), NO_MODEL
        limits = job.spec.limits
        seeded, opened = self._enter(sandbox, job.spec, lifetime=limits.plan + limits.build + _SPARE)
        if opened is None:
            return run_once(sandbox, seeded, prompt, hearing, output, title=title, timeout=job.timeout)
        if self._catalogue is None:
            self._catalogue = opened.catalogue()
        refusal = self._catalogue.refusal(agent=prompt.agent, model=prompt.model)
        if refusal is not None:
            return Exit(code=None), refusal
        if job.session not in {None, self._session} and not opened.has(job.session or ""):
            return Exit(code=None), Problem(
                code="no_session", text=f"OpenCode has no session {job.session!a:.80} any more"
            )
        session = self._session = job.session or opened.session(title)
        hearing.join(session)
        return converse(opened, replace(prompt, session=session), hearing, timeout=job.timeout)

    def _enter(self, sandbox: Sandbox, spec: AttemptSpec, *, lifetime: timedelta) -> tuple[Seeds, Server | None]:
        """Have what OpenCode needs put into the sandbox, and its server run, unless both are so."""
        if self._seeds is None:
            self._seeds = seeds.seed(sandbox, spec, self._known())
        if self._server is None and sandbox.services is not None:
            self._server = server.start(sandbox.services, self._seeds, lifetime=lifetime)
        return self._seeds, self._server

    def _leave(self, sandbox: Sandbox) -> None:
        """End the server, and take away what was put into the sandbox; again is no error."""
        opened, self._server = self._server, None
        seeded, self._seeds = self._seeds, None
        self._catalogue = self._session = None
        try:
            if opened is not None:
                opened.service.stop()
        finally:
            if seeded is not None:
                seeds.unseed(sandbox, seeded)

    def _known(self) -> Operator:
        if self._operator is None:
            self._operator = read_operator(self._environment)
        return self._operator

    def _model(self) -> str | None:
        return seeds.model_of(self._known())


def _spell(prompt: Prompt) -> str:
    model = f" --model {prompt.model}" if prompt.model is not None else ""
    variant = f" --variant {prompt.variant}" if prompt.variant is not None else ""
    return f"opencode run --agent {prompt.agent}{model}{variant}"
