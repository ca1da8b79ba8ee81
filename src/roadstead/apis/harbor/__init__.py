"""The management API at `/api/v2.0/`, in the dialect of Harbor's version 2."""
