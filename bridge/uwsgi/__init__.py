"""How uWSGI reads a vassal's config: files to options, as the started process would see them."""
