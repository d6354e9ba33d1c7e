"""Stand-ins for other capture libraries, so that programs written for them run unchanged."""
