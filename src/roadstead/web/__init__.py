"""HTML pages for people: what a browser is shown, and what its forms do."""
