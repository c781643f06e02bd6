"""The rooms of /v1, one module each: a `room(router)` that adds its routes, and their handlers."""
