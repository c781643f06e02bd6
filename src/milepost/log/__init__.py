"""Kafka: topics, a writer that survives the broker, a reader that does."""

from milepost.log.reader import Reader
from milepost.log.topics import Topics, ensure_topics
from milepost.log.writer import Writer

__all__ = ["Reader", "Topics", "Writer", "ensure_topics"]
