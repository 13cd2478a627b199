"""What databases and brokers said last, kept on disk; starts the processes that ask them, and hears what they say."""
