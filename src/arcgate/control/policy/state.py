"""The policy as the database has it now, and the parts of it that a request names."""

from dataclasses import dataclass

from publicsuffixlist import PublicSuffixList
from sqlalchemy.ext.asyncio import AsyncSession

from arcgate.control.arm.endpoint import Call
from arcgate.control.failures import ApiError
from arcgate.control.store.database import read_entries
from arcgate.core.policy import Policy
from arcgate.core.resource_ids import GATEWAY_TYPE
from arcgate.core.snapshot import Gateway, Machine, MachineGroup, Snapshot

READ_GATEWAY = f"{GATEWAY_TYPE}/read"

_SUFFIXES = PublicSuffixList()


def is_public_suffix(name: str) -> bool:
    """Say whether anybody can register names directly below this one."""
    return _SUFFIXES.publicsuffix(name) == name


@dataclass(frozen=True, slots=True)
class PolicyState:
    """The policy in force, seen by one caller in one subscription."""

    policy: Policy
    call: Call

    @property
    def snapshot(self) -> Snapshot:
        """What the nodes work from."""
        return self.policy.snapshot

    def gateway(self, resource_id: str) -> Gateway:
        """Return the gateway; raises ApiError 404 for one that the caller may not read."""
        wanted = resource_id.lower()
        found = next((one for one in self.snapshot.gateways.values() if one.resource_id.lower() == wanted), None)
        if found is None or not self._may_see(found.tenant_id, wanted, READ_GATEWAY):
            raise ApiError(404, "GatewayNotFound", f"The gateway {resource_id[:300]!a} was not found.")
        return found

    def group(self, name: str) -> MachineGroup:
        """Return the tenant's machine group of that name or resource id; raises ApiError 404."""
        wanted = name.lower()
        for key, one in sorted(self.snapshot.machine_groups.items()):
            if wanted in (key, one.name.lower()) and one.tenant_id == self.call.caller.tenant_id:
                return one
        raise ApiError(404, "MachineGroupNotFound", f"The machine group {name[:300]!a} was not found.")

    def machine(self, name: str) -> Machine:
        """Return the subscription's machine of that name, vmId or resource id; raises ApiError 404."""
        wanted, below = name.lower(), f"/subscriptions/{self.call.subscription_id}/"
        for key, one in sorted(self.snapshot.machines.items()):
            place = one.resource_id.lower()
            is_named = wanted in (key, place, place.rpartition("/")[2])
            if is_named and place.startswith(below) and one.tenant_id == self.call.caller.tenant_id:
                return one
        raise ApiError(404, "MachineNotFound", f"The machine {name[:300]!a} was not found in this subscription.")

    def machines_in(self, group: MachineGroup) -> frozenset[str]:
        """Return ids of the machines of a group."""
        return frozenset(key for key, machine in self.snapshot.machines.items() if group.has(machine))

    def _may_see(self, tenant_id: str, key: str, action: str) -> bool:
        return tenant_id == self.call.caller.tenant_id and self.call.caller.permits(action, key)


async def read_state(session: AsyncSession, call: Call) -> PolicyState:
    """Return the policy that the newest revision makes."""
    revision, entries = await read_entries(session, 0)
    return PolicyState(Policy(Snapshot().apply(entries, revision), call.context.catalogue), call)
