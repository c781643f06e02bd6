"""Milepost's HTTP service: validates, stores and answers at once."""
