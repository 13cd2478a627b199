"""Desired state and actual state become a plan, and the plan is applied: the one code path of all commands."""
