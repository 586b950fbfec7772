"""An account's rate limits for each model: requests and tokens per minute, growth of the rate.

The service states them per minute and enforces them per second ("Rate limits" in Model Studio's
documentation, https://help.aliyun.com/zh/model-studio/rate-limit).
"""

import re
from time import monotonic
from typing import Any, Final

from attrs import define, evolve, field, frozen

from .faults import ErrorStatus, Fault, RateLimited
from .field_types import expected_by
from .received_request import ReceivedRequest
from .response_plan import BodyPart, ResponsePlan

ALWAYS: Final = 10
"""Requests a second that the growth limit never refuses."""

TOTAL: Final = re.compile(rb'"total_tokens": ?(\d+)')

REQUESTS: Final = RateLimited()
TOKENS: Final = ErrorStatus(
    429,
    "Throttling.AllocationQuota",
    "Allocated quota exceeded, please increase your quota limit.",
)
GROWTH: Final = ErrorStatus(
    429,
    "Throttling.BurstRate",
    "Request rate increased too quickly. To ensure system stability, please adjust your client "
    "logic to scale requests more smoothly over time.",
)


@define
class Allowance:
    """A token bucket for requests or tokens; it holds at most one second's worth."""

    a_second: float
    most: float
    left: float
    at: float

    @classmethod
    def of(cls, a_minute: float | None, now: float) -> "Allowance":
        """Return a full bucket; infinite if there is no limit."""
        a_second = float("inf") if a_minute is None else a_minute / 60
        most = max(1.0, a_second)
        return cls(a_second, most, most, now)

    def available(self, now: float) -> float:
        """Return how much is available now."""
        self.left = min(self.most, self.left + self.a_second * (now - self.at))
        self.at = now
        return self.left


@define
class ModelAccount:
    """An account's use of one model."""

    requests: Allowance
    tokens: Allowance
    growth: float | None
    second: int = 0
    count: int = 0
    """Requests admitted in this second."""
    before: int = 0
    """Requests admitted in the previous second."""

    def refuse(self, now: float) -> ErrorStatus | None:
        """Return the error that refuses a request; None admits and counts it."""
        second = int(now)
        if second != self.second:
            self.before = self.count if second == self.second + 1 else 0
            self.second, self.count = second, 0
        if self.requests.available(now) < 1:
            return REQUESTS
        if self.tokens.available(now) <= 0:
            return TOKENS
        if self.growth and self.count >= max(ALWAYS, int(self.growth * self.before)):
            return GROWTH
        self.count += 1
        self.requests.left -= 1
        return None


def _above_zero(_: object, attribute: Any, value: float | None) -> None:
    if value is not None and (expected_by(float, value) or not value > 0):
        raise ValueError(f"{attribute.name} must be above 0, got {value!r}")


@frozen
class AccountLimits(Fault):
    """Calls beyond an account's rate limits are refused with 429, as by the service.

    It lasts until `reset`, in addition to other faults, and counts each model separately; `times`
    and `when` don't apply to it.
    """

    requests_per_minute: float | None = field(default=None, validator=_above_zero)
    """Requests a minute, enforced per second (`Throttling.RateQuota`)."""
    tokens_per_minute: float | None = field(default=None, validator=_above_zero)
    """Tokens a minute, input and output, counted as answers are sent, enforced per second
    (`Throttling.AllocationQuota`)."""
    growth: float | None = field(default=None, validator=_above_zero)
    """Factor by which the requests may increase from one second to the next
    (`Throttling.BurstRate`); 10 a second are always admitted."""
    _accounts: dict[str, ModelAccount] = field(
        init=False, factory=dict[str, ModelAccount], repr=False, eq=False
    )
    _asked: dict[str, str] = field(init=False, factory=dict[str, str], repr=False, eq=False)

    def __str__(self) -> str:
        """Return the limits as text."""
        known = {
            "requests a minute": self.requests_per_minute,
            "tokens a minute": self.tokens_per_minute,
            "times as many a second": self.growth,
        }
        words = (f"{most:g} {what}" for what, most in known.items() if most is not None)
        return f"AccountLimits: {', '.join(words)}"

    def replace(self, request: ReceivedRequest, request_id: str) -> ResponsePlan | None:
        model = str(request.json.get("model"))
        refusal = self._account(model).refuse(monotonic())
        if refusal:
            return refusal.replace(request, request_id)
        self._asked[request_id] = model
        return None

    def spoil(self, answer: ResponsePlan, request_id: str) -> ResponsePlan:
        account = self._account(self._asked.pop(request_id))
        counted = 0

        def edit(at: int, piece: BodyPart) -> Any:
            nonlocal counted
            for found in TOTAL.findall(piece.data):
                account.tokens.left -= max(0, int(found) - counted)
                counted = max(counted, int(found))
            return answer.edit(at, piece)

        return evolve(answer, edit=edit)

    def _account(self, model: str) -> ModelAccount:
        if model not in self._accounts:
            now = monotonic()
            self._accounts[model] = ModelAccount(
                Allowance.of(self.requests_per_minute, now),
                Allowance.of(self.tokens_per_minute, now),
                self.growth,
            )
        return self._accounts[model]
