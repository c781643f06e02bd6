"""What this installation allows of a webhook's URL."""

from milepost.domain.addresses import networks
from milepost.domain.webhook_url import UrlRules
from milepost.runtime.settings import Settings


def url_rules(settings: Settings) -> UrlRules:
    """Return the rules that the settings make."""
    ports = settings.webhook_ports
    return UrlRules(
        http=settings.webhook_http,
        ports=None if "*" in ports else frozenset(map(int, ports)),
        opened=networks(settings.webhook_networks),
    )
