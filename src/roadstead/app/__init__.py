"""The whole system, built from `Settings`: the only room that knows every other.

Commands that need the rooms and no door open `system` alone, which spares them the loading of the rest.
"""
