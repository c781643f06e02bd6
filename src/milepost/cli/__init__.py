"""Milepost: cli."""
