"""Reads configs as uWSGI does: from files to the options of the started process."""
