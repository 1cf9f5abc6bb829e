"""What a provider's error means: a stable code and a sentence. Pure."""

import re
from datetime import datetime
from typing import Final

from orchestration.adapters.agent.opencode.resets import retry_at
from orchestration.adapters.agent.opencode.told import Trouble

AUTH: Final = "provider_auth"
LIMIT: Final = "provider_limit"
UNAVAILABLE: Final = "provider_unavailable"
TOO_LONG: Final = "context_too_long"
UNKNOWN_MODEL: Final = "unknown_model"
PERMISSION: Final = "permission_asked"
FAILED: Final = "agent_failed"
_SHOWN: Final = 300

_TOO_LONG: Final = re.compile(
    r"context[ _]length|context[ _]window|maximum context|prompt is too long|input is too long|too many tokens|"
    r"exceeds? the (?:model's )?(?:maximum|limit)|request_too_large",
    re.IGNORECASE,
)
_LIMIT: Final = re.compile(
    r"rate.?limit|too many requests|quota|usage.?limit|limit (?:was )?reached|overloaded|resource.?exhausted|"
    r"insufficient (?:balance|credits|funds)|at capacity",
    re.IGNORECASE,
)
_MODEL: Final = re.compile(
    r"model not found|no such model|unknown model|model_not_found|model[^.\n]{0,80} does(?: not|n't) exist",
    re.IGNORECASE,
)
_NETWORK: Final = re.compile(
    r"cannot connect|unable to connect|socket|fetch failed|failed to fetch|econn|etimedout|enotfound|eai_again|network|"
    r"connection (?:error|refused|lost|closed|reset)|timed? ?out|terminated|proxy|certificate|502|503|504",
    re.IGNORECASE,
)
_REFUSED_HOST: Final = re.compile(r"not in the allow-list|allow_private", re.IGNORECASE)
_REJECTED: Final = re.compile(r"rejected permission|prevents you from using this", re.IGNORECASE)


def classify(trouble: Trouble, *, now: datetime) -> tuple[str, str, datetime | None]:
    """Return the code, the sentence and when it may be tried again."""
    code = _code(trouble)
    said = " ".join((trouble.message or trouble.name or "no reason").split())
    status = f" ({trouble.status})" if trouble.status is not None else ""
    shown = said if len(said) <= _SHOWN else f"{said[: _SHOWN - 1]}…"
    at = retry_at(trouble.headers, trouble.body, now=now) if code in {LIMIT, UNAVAILABLE} else None
    return code, f"{_SENTENCES[code]}{status}: {shown}", at


def _code(trouble: Trouble) -> str:
    said = f"{trouble.message}\n{trouble.body[:4096]}"
    status = trouble.status
    if trouble.name == "ContextOverflowError" or (status in {400, 413} and _TOO_LONG.search(said)):
        return TOO_LONG
    if status == 403 and _REFUSED_HOST.search(said):
        return UNAVAILABLE
    if status in {402, 429, 529} or (status is not None and status != 401 and _LIMIT.search(said)):
        return LIMIT
    if trouble.name == "ProviderAuthError" or status in {401, 403}:
        return AUTH
    if _MODEL.search(said):
        return UNKNOWN_MODEL
    if status is not None:
        return UNAVAILABLE if status >= 500 or status == 408 else FAILED
    if _REJECTED.search(said):
        return PERMISSION
    if _LIMIT.search(said):
        return LIMIT
    return UNAVAILABLE if _NETWORK.search(said) else FAILED


_SENTENCES: Final = {
    AUTH: "the model's provider refuses the credentials",
    LIMIT: "the model's provider refuses for now",
    UNAVAILABLE: "the model's provider cannot be reached or is broken",
    TOO_LONG: "the conversation is too long for the model",
    UNKNOWN_MODEL: "OpenCode does not know the model",
    PERMISSION: "OpenCode asked for a permission that nobody gave",
    FAILED: "OpenCode reports an error",
}
