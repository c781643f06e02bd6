"""Milepost's relay: events from Kafka to browsers, over WebSockets and as server-sent events."""
