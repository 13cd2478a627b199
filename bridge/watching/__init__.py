"""The watch daemon: what is new in it beside sync is only how it learns that there is something to do."""
