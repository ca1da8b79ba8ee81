"""What deletes because of age, count or orphanhood."""
