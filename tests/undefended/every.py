"""The whole list, in the order in which they are taken away."""

from tests.system import ROOT
from tests.undefended.defence import Defence
from tests.undefended.defences import WRITTEN
from tests.undefended.tenants import OTHER_WAYS, of_tenants
from tests.undefended.webhooks import OF_WEBHOOKS


def every_defence() -> list[Defence]:
    """Return all that can be taken away."""
    return [*WRITTEN, *OF_WEBHOOKS, *OTHER_WAYS, *of_tenants(ROOT)]
