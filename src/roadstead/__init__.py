"""Roadstead: one container registry for those who build with Docker and those who run with Apptainer."""
