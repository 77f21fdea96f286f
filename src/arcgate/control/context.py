"""What every part of the control plane works with, given from outside: there are no globals."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from arcgate.control.arm.allowance import Allowance
from arcgate.control.changes import Changes
from arcgate.control.clock import Clock
from arcgate.control.login.throttle import Throttle
from arcgate.control.store.database import Store
from arcgate.control.store.sealing import Sealer
from arcgate.core.catalogue import Catalogue
from arcgate.core.configuration import Configuration

if TYPE_CHECKING:
    from arcgate.control.authority import Authority
    from arcgate.control.login.external import ExternalIssuer
    from arcgate.control.login.tokens import Tokens


@dataclass(frozen=True, slots=True)
class ControlContext:
    """Configuration, state and services of one running control plane."""

    configuration: Configuration
    store: Store
    changes: Changes
    clock: Clock
    sealer: Sealer
    catalogue: Catalogue
    tokens: "Tokens"
    authority: "Authority"
    external: "ExternalIssuer | None" = None
    throttle: Throttle = field(default_factory=Throttle)
    allowance: Allowance = field(default_factory=Allowance)
