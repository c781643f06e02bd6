"""Milepost: testing."""
