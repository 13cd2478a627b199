raise ImportError("the C files that upstream ships are built; see debian/rules")
