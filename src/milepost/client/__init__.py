"""Milepost: client."""
