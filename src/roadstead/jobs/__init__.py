"""Work that outlives a request: queue, worker, schedules. Machinery only: what a job does lives in the room that owns the work."""
