"""Redis: live snapshots, their short history, and the channels that announce them. All of it can be lost."""

from milepost.live.buckets import Buckets
from milepost.live.channels import Channels
from milepost.live.connection import connect
from milepost.live.snapshots import Snapshots, Standing, View
from milepost.live.tickets import Tickets
from milepost.live.wire import LiveEvent

__all__ = ["Buckets", "Channels", "LiveEvent", "Snapshots", "Standing", "Tickets", "View", "connect"]
