"""Milepost: live."""
