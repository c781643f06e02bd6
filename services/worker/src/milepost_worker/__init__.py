"""Milepost's worker: claims tasks, runs handlers, keeps their leases."""
