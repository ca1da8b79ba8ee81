"""Side-by-side measurements of Roadstead against other servers, on one machine in one run: `python -m bench`."""
