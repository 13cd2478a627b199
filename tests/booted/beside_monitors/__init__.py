"""The same rows and messages for the real Emperor and for the bridge: the cases, and what runs them in the machine."""
