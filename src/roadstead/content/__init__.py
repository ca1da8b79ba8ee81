"""Stored bytes: one interface and its implementations."""
