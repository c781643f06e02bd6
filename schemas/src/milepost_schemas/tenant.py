"""Tenants, and what they may take."""

from pydantic import Field

from milepost_schemas.base import Contract, Request, Timestamp

_REQUESTS = "Requests at once; they come back bit by bit, all of them within `requests_per` seconds."
_QUEUED = "Tasks that may wait to be started."
_BYTES = "Bytes of their payloads."


class QuotasRequest(Request):
    """What a tenant may take. What is left out or null is as the settings say (MILEPOST_QUOTA_…)."""

    requests: int | None = Field(default=None, strict=True, ge=1, le=10**9, description=_REQUESTS)
    requests_per: float | None = Field(default=None, strict=True, ge=1, le=86_400, description="60 unless given.")
    queued: int | None = Field(default=None, strict=True, ge=0, le=10**9, description=_QUEUED)
    queued_bytes: int | None = Field(default=None, strict=True, ge=0, le=2**53, description=_BYTES)


class Quotas(Contract):
    """What a tenant may take; null: as much as it wants."""

    requests: int | None = Field(default=None, description=_REQUESTS)
    requests_per: float = 60.0
    queued: int | None = Field(default=None, description=_QUEUED)
    queued_bytes: int | None = Field(default=None, description=_BYTES)


class UsedQuotas(Contract):
    """What is taken of quotas; null: there is none, or how much is not known just now."""

    requests: int | None = Field(default=None, description="Those that have not come back yet, this one included.")
    queued: int | None = Field(default=None, description="Tasks that wait, counted up to the quota.")
    queued_bytes: int | None = Field(default=None, description=_BYTES)


class OwnQuotas(Contract):
    """What the tenant of the key may take, and what of it is taken."""

    tenant: str
    quotas: Quotas = Field(description="As they hold for it, those of the settings included.")
    used: UsedQuotas


class Tenant(Contract):
    """A tenant that was given a key or quotas."""

    name: str
    created_at: Timestamp
    quotas: Quotas = Field(description="As they hold for it, those of the settings included.")


class TenantPage(Contract):
    """Tenants, by name."""

    items: list[Tenant]
    next: str | None = Field(default=None, description="`cursor` of the next page; null on the last.")
