"""Milepost: embedded."""
