"""Milepost's relay: events from Kafka to browsers over WebSocket."""
