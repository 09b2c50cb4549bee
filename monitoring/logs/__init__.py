"""The last lines of all processes in one place: written beside the log, read by `/api/system/logs`."""
