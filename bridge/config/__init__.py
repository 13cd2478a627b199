"""Settings, where they come from, and the paths the bridge uses."""
