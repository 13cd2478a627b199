"""From a running Emperor to the vassals' units, and back."""
