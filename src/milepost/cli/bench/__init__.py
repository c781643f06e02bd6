"""`milepost bench`: the main job under load, seen from outside."""
