"""The OCI Distribution API at `/v2/`, and its token endpoint."""
