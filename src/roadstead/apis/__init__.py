"""The doors: one package per dialect of HTTP; they do not know each other."""
