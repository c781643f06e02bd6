"""Milepost: store."""
