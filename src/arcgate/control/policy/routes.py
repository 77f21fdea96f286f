"""Questions about the policy, in ARM's manner: explanation, observations, proposal, replay."""

from datetime import datetime
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from arcgate.control.arm.endpoint import Call, Verb, arm_route
from arcgate.control.arm.endpoint_sets import refuse_known_name
from arcgate.control.arm.fields import Body
from arcgate.control.arm.gateways import canonical_features, endpoint_set_names
from arcgate.control.arm.versions import ARCGATE
from arcgate.control.audit.records import parse_time
from arcgate.control.context import ControlContext
from arcgate.control.failures import ApiError, refuse_input
from arcgate.control.policy import revisions
from arcgate.control.policy.observations import read_observations
from arcgate.control.policy.state import PolicyState, is_public_suffix, read_state
from arcgate.core.draft import parse_draft, with_draft
from arcgate.core.errors import InputError
from arcgate.core.explanation import explain
from arcgate.core.names import parse_target
from arcgate.core.observation import Observation
from arcgate.core.patterns import DEFAULT_PORT
from arcgate.core.policy import Policy
from arcgate.core.proposal import Basis, propose
from arcgate.core.replay import replay
from arcgate.core.snapshot import Gateway, MachineGroup

READ_AUDIT = "Arcgate.Network/auditRecords/read"
READ_POLICY = "Arcgate.Network/policyRevisions/read"


class ProposalBody(Body):
    """What a proposal is to be made from; times are ISO 8601."""

    gateway: str
    machineGroup: str | None = None  # noqa: N815 - wire name
    since: str | None = None
    until: str | None = None
    basis: str | None = None


class ReplayBody(Body):
    """A draft, and the time whose requests it is tried on."""

    draft: dict[str, Any]
    since: str | None = None
    until: str | None = None


def routes(context: ControlContext) -> list[Route]:
    """Return the routes of the policy."""
    provider = "/subscriptions/{subscription}/providers/Arcgate.Network"
    verbs = {
        "policyExplanation": {"GET": Verb(READ_POLICY, _explain, query=("machine", "target"))},
        "policyObservations": {"GET": Verb(READ_AUDIT, _observe, query=("gateway", "since", "until"))},
        "policyProposal": {"POST": Verb(READ_AUDIT, _propose, ProposalBody)},
        "policyReplay": {"POST": Verb(READ_AUDIT, _replay, ReplayBody)},
    }
    own = [arm_route(context, f"{provider}/{name}", verb, ARCGATE) for name, verb in verbs.items()]
    return [*own, *revisions.routes(context)]


async def _explain(call: Call) -> Response:
    try:
        target = parse_target(call.option("target"), DEFAULT_PORT)
    except InputError as error:
        raise refuse_input(error, "InvalidTarget", "target") from None
    async with call.context.store.read() as session:
        state = await read_state(session, call)
    return JSONResponse(explain(state.policy, state.machine(call.option("machine")), target))


async def _observe(call: Call) -> Response:
    since, until = _moment("since", call.option("since")), _moment("until", call.option("until"))
    async with call.context.store.read() as session:
        state = await read_state(session, call)
        gateway = state.gateway(call.option("gateway"))
        found = await read_observations(
            session, call.subscription_id, gateway=gateway.resource_id, since=since, until=until
        )
    return JSONResponse({"value": [one.to_json() for one in found]})


async def _propose(call: Call) -> Response:
    body = await call.body(ProposalBody)
    basis = _basis(body.basis)
    state, gateway, group, found = await _seen(call, body.gateway, body.machineGroup, body.since, body.until)
    proposal = propose(found, gateway, group, state.snapshot, call.context.catalogue, basis, is_public_suffix)
    return JSONResponse(proposal.to_json())


async def _replay(call: Call) -> Response:
    body = await call.body(ReplayBody)
    try:
        draft = parse_draft(body.draft)
    except InputError as error:
        raise refuse_input(error, "InvalidDraft", "draft") from None
    async with call.context.store.read() as session:
        known = await endpoint_set_names(session, call)
    for one in draft.endpoint_sets:
        refuse_known_name(call, one.name)
    canonical_features(
        list(draft.allowed_features), [*known, *(one.name for one in draft.endpoint_sets)], call.context.catalogue
    )
    state, gateway, group, found = await _seen(call, draft.gateway, draft.machine_group, body.since, body.until)
    drafted = with_draft(state.snapshot, gateway, group, draft)
    policy = Policy(drafted, call.context.catalogue)
    return JSONResponse(replay(found, policy, drafted.gateways[gateway.prefix]).to_json())


async def _seen(
    call: Call, gateway_id: str, group_name: str | None, since: str | None, until: str | None
) -> tuple[PolicyState, Gateway, MachineGroup | None, list[Observation]]:
    first, last = _moment("since", since or ""), _moment("until", until or "")
    async with call.context.store.read() as session:
        state = await read_state(session, call)
        gateway = state.gateway(gateway_id)
        group = state.group(group_name) if group_name else None
        members = state.machines_in(group) if group is not None else None
        found = await read_observations(
            *(session, call.subscription_id),
            gateway=gateway.resource_id,
            since=first,
            until=last,
            machine_ids=members,
        )
    return state, gateway, group, found


def _basis(text: str | None) -> Basis:
    try:
        return Basis((text or Basis.EXACT).lower())
    except ValueError:
        raise ApiError(400, "InvalidBasis", "The basis is exact or feature.", target="basis") from None


def _moment(name: str, text: str) -> datetime | None:
    try:
        return parse_time(text) if text else None
    except ValueError as error:
        raise ApiError(
            400, "InvalidQueryParameter", f"The value of '{name}' is no time: {error}.", target=name
        ) from None
