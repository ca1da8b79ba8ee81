"""The client of registries: logins, names, transfers. It speaks OCI Distribution, and knows no room of the server."""
