"""The service without sockets: returns the answer to a request."""

import inspect
import uuid

from attrs import define, evolve

from llama_dashscope.testing._service import rendering, responses

from .exchange import Exchange
from .faults import Fault
from .received_request import GENERATION, ReceivedRequest
from .response_plan import ResponsePlan
from .rules import Refusal, Rules
from .script import Script, Scripted, Source
from .scripted_replies import Raw, Reply, ToolCall, default_reply

API = "/api/v1"


@define
class Service:
    """Answers requests by rules and script."""

    rules: Rules
    script: Script
    pace: rendering.GenerationSpeed

    async def answer(self, exchange: Exchange) -> ResponsePlan:
        """Return the answer to a request, and note the fault in `exchange` if there is one."""
        request, request_id = exchange.request, str(uuid.uuid4())
        if refused := self._refuse(request, request_id):
            return refused
        limits = self.script.limits
        if limits and (answer := limits.replace(request, request_id)):
            exchange.fault = limits
            return answer
        answer = await self._answer_within_limits(exchange, request_id)
        return limits.spoil(answer, request_id) if limits else answer

    async def _answer_within_limits(self, exchange: Exchange, request_id: str) -> ResponsePlan:
        request = exchange.request
        fault = self.script.next_fault(request)
        if fault and (answer := self._fail(fault, exchange, request_id)):
            return answer
        try:
            answer = await self._reply(exchange, request_id)
        except Exception as error:  # noqa: BLE001 - of the user's function; sent to the client
            problem = Refusal(500, "InternalError", f"The scripted reply raised {error!r}.")
            return evolve(responses.refusal(request, problem, request_id), error=error)
        return fault.spoil(answer, request_id) if fault else answer

    def _refuse(self, request: ReceivedRequest, request_id: str) -> ResponsePlan | None:
        if request.path.partition("?")[0] != API + GENERATION:
            return responses.bare_answer(request, 404)
        if request.method != "POST":
            return responses.bare_answer(request, 405, (("allow", "POST"),))
        problem = self.rules.check(request)
        return responses.refusal(request, problem, request_id) if problem else None

    def _fail(self, fault: Fault, exchange: Exchange, request_id: str) -> ResponsePlan | None:
        exchange.fault = fault
        return fault.replace(exchange.request, request_id)

    async def _reply(self, exchange: Exchange, request_id: str) -> ResponsePlan:
        request = exchange.request
        scripted = await _resolve(self.script.next_source(), request)
        if not isinstance(scripted, Fault):
            return self._render(scripted, request, request_id)
        if answer := self._fail(scripted, exchange, request_id):
            return answer
        answer = self._render(default_reply(request), request, request_id)
        return scripted.spoil(answer, request_id)

    def _render(
        self,
        scripted: str | Reply | ToolCall | Raw | ResponsePlan,
        request: ReceivedRequest,
        request_id: str,
    ) -> ResponsePlan:
        if isinstance(scripted, ResponsePlan):
            return scripted
        if isinstance(scripted, Raw):
            return rendering.raw_answer(scripted, request)
        if isinstance(scripted, str):
            scripted = Reply(scripted)
        elif isinstance(scripted, ToolCall):
            scripted = Reply(tool_calls=[scripted])
        return rendering.answer(scripted, request, request_id, self.pace)


async def _resolve(source: Source, request: ReceivedRequest) -> Scripted:
    if not callable(source):
        return source
    scripted = source(request)
    return await scripted if inspect.isawaitable(scripted) else scripted
