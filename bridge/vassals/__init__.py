"""From a monitor's entry to a resolved vassal: its on-demand address, its command line, its config."""
