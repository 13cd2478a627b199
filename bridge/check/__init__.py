"""What `check` looks for beyond what a plan needs: the lint rules and the machine's limits."""
